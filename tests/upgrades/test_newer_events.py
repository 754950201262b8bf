"""A service leaves a run to others that a newer release has written to: no guess, no loop, nothing parked."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from anabranch.domain.deciders import Router, Supervisor
from anabranch.runtime.handler import Handler, utcnow
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing
from anabranch.runtime.postgres.rebuild import rebuild, verify
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.recovery import recover, wake
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue
from anabranch_contracts.catalog import UnknownEvent
from tests.acceptance.client import client
from tests.acceptance.gate import gate
from tests.acceptance.stage import AGENTS, Stage
from tests.acceptance.tables import tables
from tests.processes import House, Process
from tests.unit.runtime.house import through
from tests.upgrades import newer

JSON = Any
ALONE = {"nodes": ["A"]}
HEAD = "UPDATE anabranch.run_rows SET version = version + 1 WHERE run_id = $1 RETURNING version"
INSERT = (
    "INSERT INTO anabranch.events "
    "(run_id, version, type, schema_version, data, message_id, causation_id, actor, recorded_at) "
    "VALUES ($1, $2, $3, $4, $5, $1, $1, 'supervisor', now())"
)


class Old:
    """Both deciding services of this release on a database that a newer one writes to as well."""

    def __init__(self, database_url: str) -> None:
        self.url, self.store = database_url, PostgresStore(database_url)
        self.transport = MemoryTransport(MemoryBroker())
        both = {ROUTER_QUEUE: Router(), SUPERVISOR_QUEUE: Supervisor()}
        self.handlers = {queue: Handler(decider, self.store, self.transport) for queue, decider in both.items()}

    async def tell(self, key: str, **body: JSON) -> None:
        await self.transport.publish([Outgoing(key, orjson.dumps(body), uuid4(), "")])

    async def work(self) -> list[str]:
        """Handle all that is there; the routing keys of what was left."""
        left: list[str] = []
        again = True
        while again:
            again = False
            for queue, handler in self.handlers.items():
                inbox = await self.transport.consume([queue], 1000)
                if deliveries := inbox.poll(1000):
                    left += [one.delivery.routing_key for one in await through(handler, deliveries, inbox)]
                    again = True
        return left

    async def start(self, run_id: UUID) -> None:
        await self.tell("run.requested", run_id=str(run_id), task="t", topology=ALONE)
        assert await self.work() == []

    async def taken(self, queue: str) -> list[JSON]:
        inbox = await self.transport.consume([queue], 1000)
        found = inbox.poll(1000)
        await inbox.ack(found)
        return [orjson.loads(one.body) for one in found]

    async def written(self, run_id: UUID, kind: str, schema_version: int, data: JSON) -> None:
        """A newer release records an event."""
        connection = await asyncpg.connect(self.url)
        version = await connection.fetchval(HEAD, run_id)
        await connection.execute(INSERT, run_id, version, kind, schema_version, orjson.dumps(data).decode())
        await connection.close()

    async def reply(self, run_id: UUID) -> None:
        step = {"run_id": str(run_id), "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
        await self.tell("step.completed", **step, response="done")


@pytest.fixture
async def old(database_url: str) -> AsyncIterator[Old]:
    made = Old(database_url)
    await made.transport.connect()
    await made.transport.declare_steps(["A"])
    yield made
    await made.store.close()


STRANGE: list[tuple[str, int, JSON]] = [
    ("RunBlessed", 1, {"by": "x"}),
    ("RunPaused", 2, {"reason": "r"}),
    ("BranchParked", 1, {"branch_id": "b0"}),
]


@pytest.mark.parametrize(("kind", "version", "data"), STRANGE, ids=["a type", "a version", "a shape"])
async def test_a_run_that_cannot_be_folded_is_left_and_the_others_go_on(
    old: Old, kind: str, version: int, data: JSON
) -> None:
    theirs, ours = uuid4(), uuid4()
    await old.start(theirs)
    await old.start(ours)
    await old.taken(step_queue("A"))
    await old.written(theirs, kind, version, data)
    for run_id in (theirs, ours):
        await old.reply(run_id)
        await old.tell("run.recover", run_id=str(run_id))
    assert sorted(await old.work()) == ["run.recover", "step.completed"]
    assert await old.taken(PARKED_QUEUE) == []
    assert await old.store.live_runs() == [theirs]
    assert all(handler.newer == {theirs} for handler in old.handlers.values())
    assert (await recover(old.store, old.transport)).messages == 0
    assert await wake(old.store, old.transport, utcnow(), newer={theirs}) == 0


async def test_a_fork_of_a_run_that_cannot_be_folded_is_left_too(old: Old) -> None:
    theirs, ours, made = uuid4(), uuid4(), uuid4()
    await old.start(theirs)
    await old.start(ours)
    await old.written(theirs, *STRANGE[0])
    for source, new in ((theirs, uuid4()), (ours, made)):
        await old.tell("run.fork", run_id=str(source), new_run_id=str(new), at=1)
    assert await old.work() == ["run.fork"] and await old.taken(PARKED_QUEUE) == []
    assert sorted(await old.store.live_runs()) == sorted([theirs, ours, made])


async def test_its_tables_are_not_touched_and_what_compares_them_says_why(old: Old) -> None:
    theirs = uuid4()
    await old.start(theirs)
    await old.written(theirs, *STRANGE[0])
    assert await verify(old.store) == [f"run {theirs}: RunBlessed v1 is not known here; upgrade this service"]
    with pytest.raises(UnknownEvent, match="upgrade"):
        await rebuild(old.store)
    assert await old.store.live_runs() == [theirs]


@contextmanager
def services(database_url: str, amqp_url: str, folder: Path, name: str, path: str) -> Iterator[list[Process]]:
    """A router and a supervisor of one release, and what ends them."""
    both = {"ANABRANCH_DATABASE_URL": database_url, "ANABRANCH_AMQP_URL": amqp_url, "PYTHONPATH": path}
    modules = ("anabranch.router", "anabranch.branch_supervisor")
    made = [Process(module, both, folder / f"{name}-{module}.log").start() for module in modules]
    try:
        yield [process.await_ready() for process in made]
    finally:
        for process in made:
            if process.process is not None and process.process.poll() is None:
                process.kill()


def verified(database_url: str, path: str) -> str:
    """What `projections verify` of a release says."""
    environment = {**os.environ, "PYTHONPATH": path, "ANABRANCH_DATABASE_URL": database_url}
    command = [sys.executable, "-c", "from anabranch.cli.main import main; main()", "projections", "verify"]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


async def _left_and_taken_up(
    stage: Stage, database_url: str, amqp_url: str, folder: Path, old: list[Process], path: str
) -> None:
    with services(database_url, amqp_url, folder, "newer", path):
        blessed = [await stage.ask({"nodes": ["A", "B"], "edges": ["A -> B"]}) for _ in range(30)]
        held = await stage.ask({"nodes": ["A", "B"], "edges": ["A -> B"]}, {"B": [{"wait_for": "gate"}]})
        assert {(await run.outcome())["result"] for run in blessed} == {"B"}
        waiting = await held.begun("B")
        while "RunBlessed" not in {row["type"] for row in await held.rows("events")}:
            again = await stage.ask({"nodes": ["A", "B"], "edges": ["A -> B"]}, {"B": [{"wait_for": "gate"}]})
            held, waiting = again, await again.begun("B")
    waiting.go("late")  # only services of the old release are there now
    said = "left to a newer release"
    while not any(said in process.log.read_text() for process in old):  # noqa: ASYNC110 - a log gives no signal
        await asyncio.sleep(0.05)
    assert (await (await stage.ask(ALONE)).outcome())["result"] == "A"
    assert all(process.ready() for process in old) and held.id not in stage.client.outcomes
    with services(database_url, amqp_url, folder, "newer again", path):
        assert (await held.outcome())["result"] == "late"
        assert verified(database_url, path).startswith("equal")
    raw = stage.client.transport._raw()
    parked = await raw.queue_declare(PARKED_QUEUE, passive=True)
    assert parked.message_count == 0
    assert not [process.log for process in old if "Traceback" in process.log.read_text()]


async def test_services_of_two_releases_share_a_database_and_each_run_finds_who_can_fold_it(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    path = newer.write(tmp_path / "path")
    worker = Process("anabranch.agent_worker", {"ANABRANCH_AMQP_URL": amqp_url, "ANABRANCH_AGENTS": str(AGENTS)},
                     tmp_path / "worker.log").start()  # fmt: skip
    try:
        with services(database_url, amqp_url, tmp_path, "old", "") as old:
            async with client(amqp_url) as asking, tables(database_url) as reading, gate() as opened:
                stage = Stage(asking, reading, opened, House([], [], [worker.await_ready()]))
                await _left_and_taken_up(stage, database_url, amqp_url, tmp_path, old, path)
    finally:
        worker.kill()
