"""Runs that wait for people are held by nobody: no queue, no cache, no connection; any order of answers is right.

`make bench-waiting` measures the same with 10,000 runs, and what they cost.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import orjson
import pytest
from ops.bench import waiting
from ops.bench.asking import clerk

from anabranch.agents.registry import Registry
from anabranch.client.embedded import Engine
from anabranch.client.session import Session
from anabranch.runtime.memory.transport import MemoryTransport
from anabranch.runtime.settings import Settings
from tests.acceptance.client import client
from tests.acceptance.tables import tables
from tests.processes import House, house

RUNS = 300
FEW = 60
STATUSES = "SELECT status, count(*) AS runs FROM anabranch.runs GROUP BY status"


async def wait_with_nobody_there(database_url: str, amqp_url: str, made: House) -> None:
    """Everything is down while the runs wait; then each gets the answer that is its own, some of them twice."""
    random = Random(RUNS)
    async with client(amqp_url) as asking:
        await asking.listen()
        asked = await waiting.ask(asking, RUNS)
        await waiting.drained(amqp_url)
        with contextmanager(waiting.restart)(made):
            assert await waiting.depths(amqp_url) == dict.fromkeys(waiting.QUEUES, 0)
            assert await waiting.backends(database_url) == {}
            assert [tuple(row) for row in await waiting.rows(database_url, STATUSES)] == [("waiting", RUNS)]
        assert await waiting.answer(asking, asked, random) == RUNS
        run_id, request_id = random.choice(list(asked.items()))
        again = await asking.command("user.provided", run_id=run_id, request_id=request_id, value="once more")
        assert not again["accepted"] and "is not open" in again["reason"]
    (audit,) = await waiting.rows(database_url, waiting.AUDIT)
    assert (audit["exact"], audit["runs"]) == (RUNS, RUNS)


@pytest.mark.timeout(180)
def test_runs_wait_while_every_service_is_down_and_are_answered_in_any_order(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    with house(database_url, amqp_url, tmp_path, waiting.TEAM) as made:
        asyncio.run(wait_with_nobody_there(database_url, amqp_url, made))


@asynccontextmanager
async def embedded(database_url: str) -> AsyncIterator[tuple[Engine, Session]]:
    """The three services in this process, so that one can look into them."""
    agents = Registry()
    agents.register("Clerk", clerk)
    engine = Engine(Settings(database_url=database_url), agents)
    async with engine as session:
        yield engine, session


async def questions(session: Session, count: int) -> list[dict[str, Any]]:
    """The next so many questions that are put."""
    transport = await session.another_transport()
    assert isinstance(transport, MemoryTransport)
    transport._broker.queue("people", ["user.requested"])
    inbox = await transport.consume(["people"], count)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        deliveries = await inbox.take(count)
        await inbox.ack(deliveries)
        found += [orjson.loads(delivery.body) for delivery in deliveries]
    await transport.close()
    return found


async def handled(engine: Engine) -> None:
    """Until no service has a message in hand or before it."""
    inboxes = [service._inbox for service in engine._services]
    async with asyncio.timeout(30):
        while any(i._unacked or any(q.ready for q in i._queues) for i in inboxes):  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.01)


def cached(engine: Engine) -> list[int]:
    """How many run states router and supervisor keep."""
    return [len(service.handler._cache._states) for service in engine._services[:2]]


async def test_a_run_that_waits_is_in_no_cache_and_no_hand(database_url: str) -> None:
    async with embedded(database_url) as (engine, session), tables(database_url) as reading:
        hearing = asyncio.create_task(questions(session, FEW))
        await asyncio.sleep(0)  # let it bind its queue before anybody asks
        body = {"task": "t", "topology": waiting.TOPOLOGY}
        handles = {str(h.run_id): h for h in [await session.submit({**body, "run_id": uuid4()}) for _ in range(FEW)]}
        asked = await hearing
        await handled(engine)
        assert cached(engine) == [0, 0] and engine._services[2]._jobs == {}
        for question in reversed(asked):
            answer = {k: question[k] for k in ("run_id", "request_id")} | {"value": question["prompt"]}
            await session.command("user.provided", answer)
        for run_id, handle in handles.items():
            assert (await handle.result()).final_response == {"run": run_id, "said": {"for": run_id}}
        assert await reading.stuck() == []
