"""The outcome of a run goes to everybody who asked for it, before its end and after it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from anabranch.domain.deciders import Router, Supervisor
from anabranch.runtime.handler import Handler
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE

JSON = Any
RUN, FORKED = UUID(int=7), UUID(int=8)
REQUEST = {"run_id": RUN, "task": "t", "topology": {"nodes": ["A"]}}
FORK = {"run_id": RUN, "new_run_id": FORKED, "at": 3}


class House:
    """Both deciding services over memory, and the queues at which somebody waits."""

    def __init__(self) -> None:
        self.broker, self.store = MemoryBroker(), MemoryStore()
        self.transport = MemoryTransport(self.broker)

    async def tell(self, key: str, body: JSON, reply_to: str | None = None, message_id: UUID | None = None) -> None:
        """Publish a message, and handle it and everything that follows."""
        correlation = f"for {reply_to}"
        message = Outgoing(key, orjson.dumps(body), message_id or uuid4(), "", correlation, reply_to=reply_to)
        await self.transport.publish([message])
        moved = True
        while moved:
            moved = await self._work(Router(), ROUTER_QUEUE) or await self._work(Supervisor(), SUPERVISOR_QUEUE)

    async def _work(self, decider: Any, queue: str) -> bool:
        inbox = await self.transport.consume([queue], 10)
        deliveries = inbox.poll(10)
        if deliveries:
            await Handler(decider, self.store, self.transport).process(deliveries, inbox)
        return bool(deliveries)

    async def finish(self, run_id: UUID) -> None:
        """Let the one step of a run be done."""
        step = {"run_id": run_id, "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
        await self.tell("step.completed", {**step, "response": "done"})

    async def heard(self, queue: str) -> list[tuple[str | None, JSON]]:
        """What has come to a queue since, in any order: for whom, and the result, or why there is none."""
        inbox = await self.transport.consume([queue], 100)
        found = inbox.poll(100)
        await inbox.ack(found)
        bodies = [(d.correlation_id, orjson.loads(d.body)) for d in found]
        return sorted(((who, body.get("result", body.get("reason"))) for who, body in bodies), key=str)

    def events(self, run_id: UUID) -> int:
        return len(self.store.streams[run_id])


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    await made.transport.connect()
    yield made
    await made.transport.close()


async def asked(house: House, run_id: UUID, reply_to: str, message_id: UUID | None = None) -> None:
    """Somebody asks for the run or the fork, always in the same words."""
    key, body = ("run.requested", REQUEST) if run_id == RUN else ("run.fork", FORK)
    await house.tell(key, body, reply_to, message_id)


async def started(house: House, run_id: UUID) -> list[str]:
    """A run or a fork asked for from the first of three queues; what it is forked from, from the last."""
    queues = [await house.transport.declare_reply_queue() for _ in range(3)]
    if run_id == FORKED:
        await house.tell("run.requested", REQUEST, queues[2])
    await asked(house, run_id, queues[0])
    return queues


def told(queue: str, run_id: UUID) -> list[tuple[str, JSON]]:
    """The outcome, and that a command was accepted."""
    accepted = [(f"for {queue}", None)] if run_id == FORKED else []
    return [(f"for {queue}", "done"), *accepted]


EACH = pytest.mark.parametrize("run_id", [RUN, FORKED], ids=["run", "fork"])


@EACH
async def test_who_asks_for_the_same_run_meanwhile_is_told_too(house: House, run_id: UUID) -> None:
    first, second, third = await started(house, run_id)
    await asked(house, run_id, second)
    await house.finish(run_id)
    assert await house.heard(first) == told(first, run_id)
    assert await house.heard(second) == told(second, run_id) and await house.heard(third) == []


@EACH
async def test_who_asks_after_its_end_is_told_at_once_and_nobody_else_again(house: House, run_id: UUID) -> None:
    first, second, third = await started(house, run_id)
    news = house.broker.queue("news", ["run.completed"])
    await house.finish(run_id)
    await house.heard(first)
    for queue in (second, third, first):
        await asked(house, run_id, queue)
        assert await house.heard(queue) == told(queue, run_id)
    assert [await house.heard(queue) for queue in (first, second, third)] == [[], [], []]
    assert len(news.ready) == 1


@EACH
async def test_the_same_delivery_again_adds_nothing(house: House, run_id: UUID) -> None:
    first, second, _ = await started(house, run_id)
    before, after = uuid4(), uuid4()
    await asked(house, run_id, second, before)
    for _ in range(2):
        recorded = house.events(run_id)
        await asked(house, run_id, second, before)
        await asked(house, run_id, first)
        assert house.events(run_id) == recorded
    await house.finish(run_id)
    await asked(house, run_id, second, after)
    recorded = house.events(run_id)
    for message_id in (before, after):
        await asked(house, run_id, second, message_id)
    assert house.events(run_id) == recorded


@EACH
async def test_another_content_under_the_same_name_is_refused(house: House, run_id: UUID) -> None:
    first, second, _ = await started(house, run_id)
    if run_id == RUN:
        await house.tell("run.requested", {**REQUEST, "task": "other"}, second)
    else:
        await house.tell("run.fork", {**FORK, "at": 2}, second)
    ((who, why),) = await house.heard(second)
    assert who == f"for {second}" and f"run {run_id} exists" in why
    await house.finish(run_id)
    assert await house.heard(second) == [] and await house.heard(first) == told(first, run_id)
