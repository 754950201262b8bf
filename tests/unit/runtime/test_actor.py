"""The loop of a deciding service: lanes side by side, and what is left when it stops."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from anabranch.domain.deciders import Router
from anabranch.runtime.actor import Actor
from anabranch.runtime.handler import Handler
from anabranch.runtime.lines import Shares
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.outbox import Settled
from anabranch.runtime.ports import Outgoing, Unavailable
from anabranch.runtime.reading import Inbound
from anabranch_contracts.addresses import ROUTER_QUEUE
from tests.unit.runtime.house import asked

SLOW = UUID(int=1)


class Waiting(MemoryTransport):
    """What one run leads to is published once the test lets it; or never."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.lost, self.defect = False, False

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if any(str(SLOW) in (message.correlation_id or "") for message in messages):
            self.begun.set()
            await self.go.wait()
            if self.defect:
                self.defect = False
                raise ZeroDivisionError("oh")
            if self.lost:
                raise Unavailable("gone")
        await super().publish(messages)


class Noting(Handler):
    """Says how many batches it has settled."""

    def __init__(self, store: MemoryStore, transport: MemoryTransport) -> None:
        super().__init__(Router(), store, transport)
        self.noted = asyncio.Semaphore(0)

    async def settle(self, inbound: Sequence[Inbound]) -> Settled:
        settled = await super().settle(inbound)
        self.noted.release()
        return settled


class Stage:
    """A router over memory, and who asks it."""

    def __init__(self) -> None:
        self.broker, self.store = MemoryBroker(), MemoryStore()
        self.transport, self.asker = Waiting(self.broker), MemoryTransport(self.broker)
        self.handler = Noting(self.store, self.transport)
        self.actor = Actor(self.handler, self.transport, [ROUTER_QUEUE])

    async def serving(self) -> "asyncio.Task[None]":
        """The first run is in hand, and waits."""
        await self.transport.connect()
        running = asyncio.create_task(self.actor.run())
        await self.actor.ready.wait()
        await self.asker.publish([asked(SLOW)])
        await self.transport.begun.wait()
        return running

    async def steps(self, count: int) -> None:
        """So many runs have their first step in the agent's queue."""
        inbox = await self.asker.consume(["anabranch.step.A"], 100)
        found = 0
        async with asyncio.timeout(5):
            while found < count:
                found += len(await inbox.take(100))


async def test_a_run_does_not_wait_for_what_is_done_for_another() -> None:
    stage = Stage()
    running = await stage.serving()
    await stage.asker.publish([asked(uuid4())])
    await stage.steps(1)
    assert not stage.actor.ready.is_set(), "one is in hand"
    stage.transport.go.set()
    await stage.steps(1)
    await stage.actor.stop()
    await running


@pytest.mark.parametrize("defect", [False, True])
async def test_a_run_goes_on_before_a_batch_of_it_is_told_of_where_a_full_one_waits(defect: bool) -> None:
    stage = Stage()
    stage.transport.defect = defect
    await stage.transport.connect()
    await stage.asker.publish([asked(SLOW, reply_to=f"asker-{number}") for number in range(2 * Shares().alone + 1)])
    running = asyncio.create_task(stage.actor.run())
    async with asyncio.timeout(5):
        for _ in range(2):
            await stage.handler.noted.acquire()
    stage.transport.go.set()
    await stage.steps(1)
    await stage.actor.stop()
    await running
    depth = await stage.asker.depth(ROUTER_QUEUE)
    assert depth is not None and depth.ready == 0


async def test_what_is_in_hand_is_finished_when_it_stops_and_the_rest_given_back() -> None:
    stage = Stage()
    running = await stage.serving()
    await stage.asker.publish([asked(SLOW, reply_to="late")])
    await stage.actor.stop()
    stage.transport.go.set()
    await running
    await stage.steps(1)
    left = (await stage.asker.consume([ROUTER_QUEUE], 10)).poll(10)
    assert [delivery.reply_to for delivery in left] == ["late"]


async def test_a_lost_dependency_ends_every_lane() -> None:
    stage = Stage()
    running = await stage.serving()
    stage.transport.lost = True
    stage.transport.go.set()
    with pytest.raises(ExceptionGroup) as ended:
        await running
    assert ended.group_contains(Unavailable)
