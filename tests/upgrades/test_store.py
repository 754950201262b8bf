"""What an earlier release has left behind goes on with today's code: every run of every kind comes to its outcome."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from anabranch.runtime.cache import reducer_hash
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.rebuild import rebuild, verify
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.recovery import recover
from tests.acceptance.client import Client, client
from tests.acceptance.tables import Tables, tables
from tests.audit import audit
from tests.processes import house
from tests.upgrades import releases
from tests.upgrades.kinds import FORKED, KINDS, Kind
from tests.upgrades.write_store import TEAM

JSON = Any
DIFFERENT: set[str] = set()
"""Stores whose tables are to be written anew after the migrations: a projection says something else since."""
LEAST = 21
OPEN = "SELECT request_id FROM anabranch.user_requests WHERE run_id = $1 AND status = 'open'"
SETTLED = "SELECT count(*) FROM anabranch.runs WHERE status IN ('completed', 'failed', 'cancelled', 'rejected')"


@pytest.fixture(params=releases.STORES, ids=lambda path: path.name.removesuffix(".sql.gz"))
async def left(request: pytest.FixtureRequest, empty_database_url: str) -> dict[str, JSON]:
    """The runs of a store that is in the database and migrated, by name; nobody has touched them since."""
    runs = await releases.load(request.param, empty_database_url)
    await upgrade(empty_database_url)
    if request.param.name in DIFFERENT:
        await rebuild(PostgresStore(empty_database_url))
    return runs


def kind_of(name: str) -> Kind:
    return KINDS[name.removeprefix("fork of ")]


async def test_a_run_of_every_kind_was_left_and_the_tables_equal_the_events(
    left: dict[str, JSON], empty_database_url: str
) -> None:
    assert len(left) >= LEAST and left.keys() <= {*KINDS, f"fork of {FORKED}"}
    store = PostgresStore(empty_database_url)
    assert await verify(store) == []
    live = {name for name, run in left.items() if UUID(run["run_id"]) in set(await store.live_runs())}
    assert live == set(left) - {"completed", "failed", "rejected", "cancelled"}
    await store.close()


async def test_its_snapshots_are_read_only_where_the_reducer_is_the_same(
    left: dict[str, JSON], empty_database_url: str
) -> None:
    """A snapshot that lies, under another reducer's name or as bytes that are none, changes nothing."""
    run_id = UUID(left["long conversation"]["run_id"])
    connection = await asyncpg.connect(empty_database_url)
    (row,) = await connection.fetch("SELECT * FROM anabranch.snapshots WHERE run_id = $1", run_id)
    assert row["version"] >= 500
    lie = bytes(row["data"]).replace(b'"running"', b'"completed"')
    store, transport = PostgresStore(empty_database_url), Counting()
    for reducer, data in ((f"not {reducer_hash()}", lie), (reducer_hash(), b"{}"), (reducer_hash(), b"\0garbage")):
        await connection.execute("UPDATE anabranch.snapshots SET reducer = $1, data = $2", reducer, data)
        assert (await recover(store, transport)).messages > 0  # type: ignore[arg-type] - all it does is publish
        assert str(run_id) in transport.runs, "the run is taken for one that is over"
        transport.runs.clear()
    await connection.close()
    await store.close()


class Counting:
    """Where messages go that nobody is to have."""

    def __init__(self) -> None:
        self.runs: set[str | None] = set()

    async def publish(self, messages: Any) -> None:
        self.runs |= {message.correlation_id for message in messages}


async def _go_on(asking: Client, reading: Tables, left: dict[str, JSON]) -> None:
    """Say what people and clients say next to each run."""
    for name, run in left.items():
        for key, body in kind_of(name).then:
            if key == "user.provided":
                body = {**body, "request_id": str(await reading.value(OPEN, run["run_id"]))}
            answer = await asking.command(key, run_id=run["run_id"], **body)
            assert answer["accepted"], (name, answer)


async def test_every_run_comes_to_its_outcome(
    left: dict[str, JSON], empty_database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    with house(empty_database_url, amqp_url, tmp_path, TEAM) as services:
        store, transport = PostgresStore(empty_database_url), RabbitTransport(amqp_url)
        await transport.connect()
        assert (await recover(store, transport)).messages > 0
        async with client(amqp_url) as asking, tables(empty_database_url) as reading:
            await _go_on(asking, reading, left)
            async with asyncio.timeout(60):
                while await reading.value(SETTLED) < len(left):  # noqa: ASYNC110 - a row of a service gives no signal
                    await asyncio.sleep(0.05)
            for name, run in left.items():
                row = await reading.run(run["run_id"])
                assert (row["status"], row["result"]) == kind_of(name).ends, name
        logs = [process.log.read_text() for process in services.all]
        assert not [log for log in logs if "Traceback" in log or "parked" in log]
        await transport.close()
        await store.close()
    await audit(empty_database_url)
