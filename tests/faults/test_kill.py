"""`kill -9` of each service while runs are in flight, and the loss of every queue: nothing is lost."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.recovery import recover
from tests.acceptance.client import client
from tests.audit import audit
from tests.processes import House, house

TEAM = Path(__file__).parent / "team.py"
TOPOLOGY = {
    "nodes": ["Boss", "Hand", {"name": "Meet", "is_convergence_point": True}, "Judge"],
    "edges": ["Boss -> Hand", "Hand -> Meet", "Meet <-> Judge"],
}
RUNS = 200
RESULT = 14


async def _kill_one_after_the_other(all_of_it: House, amqp_url: str) -> None:
    run_ids = [uuid4() for _ in range(RUNS)]
    async with client(amqp_url) as asking:
        await asking.request(run_ids, TOPOLOGY)
        for process in (all_of_it.routers[0], all_of_it.supervisors[0], all_of_it.workers[0]):
            await asking.collect(len(asking.outcomes) + RUNS // 20, 60)
            process.kill()
            process.start()
        await asking.collect(RUNS, 120)
        assert {o["result"] for o in asking.outcomes.values()} == {RESULT}


def test_runs_survive_the_death_of_each_service(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    with house(database_url, amqp_url, tmp_path, TEAM, replicas=2) as all_of_it:
        asyncio.run(_kill_one_after_the_other(all_of_it, amqp_url))
    asyncio.run(audit(database_url))


async def _in_flight(database_url: str, amqp_url: str, all_of_it: House) -> list[UUID]:
    run_ids = [uuid4() for _ in range(RUNS)]
    async with client(amqp_url) as asking:
        await asking.request(run_ids, TOPOLOGY)
        await asking.collect(RUNS // 20, 60)
    for process in all_of_it.all:
        process.kill()
    return run_ids


async def _wipe_and_recover(database_url: str, amqp_url: str) -> None:
    transport, store = RabbitTransport(amqp_url), PostgresStore(database_url)
    await transport.connect()
    raw = transport._raw()
    queues = ["anabranch.router", "anabranch.supervisor", *(f"anabranch.step.{n}" for n in ("Boss", "Hand", "Meet"))]
    for queue in [*queues, "anabranch.step.Judge"]:
        await raw.queue_purge(queue)
    await recover(store, transport)
    await transport.close()
    await store.close()


async def _all_over(database_url: str, run_ids: list[UUID]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(120):
            while await connection.fetchval("SELECT count(*) FROM anabranch.runs WHERE status = 'running'"):  # noqa: ASYNC110 - SQL has no signal
                await asyncio.sleep(0.1)
        seen = await connection.fetchval("SELECT count(*) FROM anabranch.runs WHERE status = 'completed'")
    finally:
        await connection.close()
    assert seen == len(run_ids)


@pytest.mark.timeout(300)
def test_runs_survive_the_loss_of_every_queue(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    with house(database_url, amqp_url, tmp_path, TEAM, replicas=2) as all_of_it:
        run_ids = asyncio.run(_in_flight(database_url, amqp_url, all_of_it))
        known = asyncio.run(_known(database_url))
        asyncio.run(_wipe_and_recover(database_url, amqp_url))
        for process in all_of_it.all:
            process.start()
        asyncio.run(_all_over(database_url, known))
    assert known and set(known) <= set(run_ids)
    asyncio.run(audit(database_url))


async def _known(database_url: str) -> list[UUID]:
    """Runs that were accepted before everything died."""
    connection = await asyncpg.connect(database_url)
    try:
        return [row["run_id"] for row in await connection.fetch("SELECT run_id FROM anabranch.runs")]
    finally:
        await connection.close()
