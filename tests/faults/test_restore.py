"""The database is put back to an earlier point, under a broker that still has the future that was lost."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest

from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import PARKED_QUEUE
from tests.acceptance.client import client
from tests.audit import audit
from tests.faults.backups import Backup, Disk, Dump, Standby
from tests.processes import House, house
from tests.services import data_folder

TEAM = Path(__file__).parent / "team.py"
TOPOLOGY = {
    "nodes": ["Boss", "Hand", {"name": "Meet", "is_convergence_point": True}, "Judge"],
    "edges": ["Boss -> Hand", "Hand -> Meet", "Meet <-> Judge"],
}
RUNS = 60
RESULT = "14"
LIVE = "SELECT count(*) FROM anabranch.runs WHERE status NOT IN ('completed', 'failed', 'cancelled', 'rejected')"
pytestmark = pytest.mark.timeout(280)


WAYS = {"disk": Disk, "dump": Dump, "standby": Standby}


@pytest.fixture
async def backup(request: pytest.FixtureRequest) -> AsyncIterator[Backup]:
    with data_folder() as folder:
        made = WAYS[request.param](folder)
        try:
            await made.open()
            yield made
        finally:
            await asyncio.to_thread(made.close)


def restarted(all_of_it: House, backup: Backup) -> None:
    """Every service, on the database where it is now."""
    for process in all_of_it.all:
        if "ANABRANCH_DATABASE_URL" in process.environment:
            process.environment["ANABRANCH_DATABASE_URL"] = backup.url
        process.start()


async def into_a_future(backup: Backup, amqp_url: str, all_of_it: House) -> None:
    """Work, a backup in its middle, the rest of the work, and more that the backup does not know; then a crash."""
    async with client(amqp_url) as asking:
        await asking.request([uuid4() for _ in range(RUNS)], TOPOLOGY)
        await asking.collect(RUNS // 4, 60)
        await backup.take()
        await asking.collect(RUNS, 120)
        known = (await backup.fetch("SELECT mark FROM anabranch.watch"))[0]["mark"]
        async with asyncio.timeout(60):
            while (await backup.fetch("SELECT mark FROM anabranch.watch"))[0]["mark"] == known:  # noqa: ASYNC110 - SQL has no signal
                await asyncio.sleep(0.1)
        await asking.request([uuid4() for _ in range(RUNS)], TOPOLOGY)
        await asking.collect(RUNS + RUNS // 4, 60)
    for process in all_of_it.all:
        process.kill()


async def consistent(backup: Backup, amqp_url: str, known: set[UUID]) -> None:
    """Every run of the restored log has its one outcome, the tables are its replay, what is parked says why."""
    async with asyncio.timeout(120):
        while (await backup.fetch(LIVE))[0]["count"]:  # noqa: ASYNC110 - SQL has no signal
            await asyncio.sleep(0.2)
    rows = await backup.fetch("SELECT run_id, status, result FROM anabranch.runs")
    assert {(row["status"], row["result"]) for row in rows} == {("completed", RESULT)}
    assert known <= {row["run_id"] for row in rows}
    await audit(backup.url)
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    depth = await transport.depth(PARKED_QUEUE)
    assert depth is not None
    if depth.ready:
        for delivery in await (await transport.consume([PARKED_QUEUE], 1000)).take(1000):
            assert str(delivery.headers["reason"]).endswith(("is unknown", "put back to an earlier point"))
    await transport.close()


async def known_runs(backup: Backup) -> set[UUID]:
    return {row["run_id"] for row in await backup.fetch("SELECT run_id FROM anabranch.runs")}


@pytest.mark.parametrize("backup", WAYS, indirect=True)
async def test_services_notice_by_themselves_that_the_log_was_put_back(
    backup: Backup, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_SWEEP_SECONDS", "1")
    with house(backup.url, amqp_url, tmp_path, TEAM) as all_of_it:
        await into_a_future(backup, amqp_url, all_of_it)
        await backup.put_back()
        known = await known_runs(backup)
        assert (await backup.fetch(LIVE))[0]["count"]
        restarted(all_of_it, backup)
        await consistent(backup, amqp_url, known)
        said = all_of_it.supervisors[0].log.read_text()
        assert said.count("does not know this database's mark") == 1


@pytest.mark.parametrize("backup", ["disk", "dump"], indirect=True)
async def test_what_is_left_of_the_lost_future_is_set_aside_when_asked(
    backup: Backup, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_SWEEP_SECONDS", "1")
    with house(backup.url, amqp_url, tmp_path, TEAM) as all_of_it:
        await into_a_future(backup, amqp_url, all_of_it)
        await backup.put_back()
        known = await known_runs(backup)
        monkeypatch.setenv("ANABRANCH_DATABASE_URL", backup.url)
        monkeypatch.setenv("ANABRANCH_AMQP_URL", amqp_url)
        said = orjson.loads(await recover("--after-restore", "--json"))
        assert said["published"] and not said["left_out"]
        restarted(all_of_it, backup)
        await consistent(backup, amqp_url, known)
        assert "does not know this database's mark" not in all_of_it.supervisors[0].log.read_text()


async def recover(*arguments: str) -> bytes:
    """What `anabranch recover` prints."""
    code = "import sys; from anabranch.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "recover", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out
