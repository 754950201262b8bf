"""Steps that workers were lost with: counted by whoever can, run apart from each other, handed over uncounted."""

import asyncio
from typing import Any

import pytest

from anabranch.agent_worker.app import Worker
from anabranch.agent_worker.jobs import Job
from anabranch.agent_worker.steps import LOST, losses, read_step
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Delivery, Outgoing, Unavailable
from anabranch_contracts.addresses import step_queue
from tests.integration.worker.bench import Gate, PerQueue, a_worker, registry, serving, waiting
from tests.integration.worker.wire import Asker, a_step


def offer(broker: MemoryBroker, message: Outgoing, count: int, **headers: Any) -> None:
    """Let a step be offered that so many workers were lost with."""
    delivery = Delivery(message.routing_key, message.body, redelivered=True, delivery_count=count, headers=headers)
    broker.queues[step_queue("A")].put(delivery)


@pytest.fixture
def gate(broker: MemoryBroker) -> Gate:
    broker.queue(step_queue("A"), ["step.requested.A"])
    return Gate()


async def test_suspects_are_never_in_one_hand(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    for name in ("one", "two", "three"):
        offer(broker, a_step("A", name), 3)
    async with serving(broker, registry(A=gate)):
        for left, name in ((2, "one"), (1, "two"), (0, "three")):
            assert await gate.begun.get() == name
            assert [losses(other) for other in waiting(broker, "A")] == [3] * left
            if not left:
                await asker.ask(*[a_step("A", "new") for _ in range(3)])
                assert gate.begun.empty()
            gate.go.set()
            assert (await asker.result())[1]["response"] == name
            gate.go.clear()
        assert [await gate.begun.get() for _ in range(3)] == ["new"] * 3, "and then all that is new, at once"
        gate.go.set()


async def test_what_has_begun_goes_on_beside_a_suspect(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    async with serving(broker, registry(A=gate)):
        await asker.ask(a_step("A", "early"))
        assert await gate.begun.get() == "early"
        offer(broker, a_step("A", "suspect"), 3)
        assert await gate.begun.get() == "suspect"
        await asker.ask(a_step("A", "late"))
        gate.go.set()
        assert {(await asker.result())[1]["response"] for _ in range(3)} == {"early", "suspect", "late"}


async def test_losses_go_along_when_a_step_is_handed_over(broker: MemoryBroker, gate: Gate) -> None:
    offer(broker, a_step("A"), 1, **{LOST: 1, "traceparent": "00-1"})
    worker = a_worker(broker, registry(A=gate), drain_seconds=0.01)
    running = asyncio.create_task(worker.run())
    await gate.begun.get()
    await worker.stop()
    await running
    (left,) = waiting(broker, "A")
    assert (left.redelivered, left.delivery_count) == (False, 0)
    assert left.headers == {LOST: 2, "traceparent": "00-1"}


async def test_a_suspect_in_hand_does_not_keep_a_worker_from_leaving(broker: MemoryBroker, gate: Gate) -> None:
    offer(broker, a_step("A"), 3)
    worker = a_worker(broker, registry(A=gate), drain_seconds=0.01)
    running = asyncio.create_task(worker.run())
    await gate.begun.get()
    await worker.stop()
    async with asyncio.timeout(5):
        await running
    assert [losses(delivery) for delivery in waiting(broker, "A")] == [3]


async def test_where_the_broker_does_not_count_the_worker_does(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    gate.go.set()
    async with serving(broker, registry(A=gate)):
        for before, kind in ((0, None), (3, None), (4, "poison")):
            offer(broker, a_step("A"), 0, **{LOST: before})
            assert (await asker.result())[1].get("error", {}).get("kind") == kind
    assert gate.begun.qsize() == 2


class Doubtful(MemoryTransport):
    """Nothing can be handed over."""

    async def offer_again(self, message: Outgoing) -> bool:
        raise Unavailable("outcome unknown")


class Locked(MemoryTransport):
    """This worker may make no copies."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.refused = asyncio.Event()

    async def offer_again(self, message: Outgoing) -> bool:
        self.refused.set()
        return False


class LockedPerQueue(Locked, PerQueue):
    """The same, with more in hand than it runs at once."""


async def test_what_cannot_be_handed_over_is_not_acked(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    for name in ("one", "two"):
        offer(broker, a_step("A", name), 3)
    transport = Doubtful(broker)
    running = asyncio.create_task(Worker(transport, registry(A=gate)).run())
    assert await gate.begun.get() == "one"
    await transport.close()
    running.cancel()
    assert {losses(delivery) for delivery in waiting(broker, "A")} == {4} and len(waiting(broker, "A")) == 2


async def test_who_may_make_no_copies_gives_back(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    for name in ("one", "two"):
        offer(broker, a_step("A", name), 3)
    async with serving(broker, registry(A=gate), Locked(broker)):
        assert await gate.begun.get() == "one"
        assert [losses(delivery) for delivery in waiting(broker, "A")] == [4], "the broker counts what is given back"
        gate.go.set()
        assert {(await asker.result())[1]["response"] for _ in range(2)} == {"one", "two"}


async def test_who_may_make_no_copies_runs_what_nobody_counts(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    offer(broker, a_step("A", "uncounted"), 0)
    gate.go.set()
    async with serving(broker, registry(A=gate), Locked(broker)):
        assert (await asker.result())[1]["response"] == "uncounted"


async def test_what_waits_long_in_one_hand_goes_to_another(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    crowded = serving(broker, registry(A=gate, B=gate), PerQueue(broker), concurrency=3, patience=0.02)
    async with crowded:
        async with asyncio.timeout(10):
            for number in range(3):
                await asker.ask(a_step("A", number, step_id=f"0#{number}"))
            assert {await gate.begun.get() for _ in range(3)} == {0, 1, 2}
            await asker.ask(a_step("A", "fourth", step_id="0#4"))
            async with serving(broker, registry(A=lambda request: f"{request} by another")):
                assert (await asker.result())[1]["response"] == "fourth by another"
            gate.go.set()
            assert {(await asker.result())[1]["response"] for _ in range(3)} == {0, 1, 2}


async def test_what_may_not_be_shared_waits_where_it_is(broker: MemoryBroker, gate: Gate, asker: Asker) -> None:
    transport = LockedPerQueue(broker)
    async with serving(broker, registry(A=gate, B=gate), transport, concurrency=1, patience=0.02):
        await asker.ask(a_step("A", "one"))
        assert await gate.begun.get() == "one"
        await asker.ask(a_step("B", "two"))
        async with asyncio.timeout(10):
            await transport.refused.wait()
        gate.go.set()
        assert [(await asker.result())[1]["response"] for _ in range(2)] == ["one", "two"]


async def test_of_two_offers_the_one_that_lasts_is_handed_on(broker: MemoryBroker) -> None:
    gone, here = MemoryTransport(broker), MemoryTransport(broker)
    old, new = await gone.consume([], 1), await here.consume([], 1)
    await gone.close()
    first, second = (old, Delivery("k", b"", "first")), (new, Delivery("k", b"", "second"))
    for offers in ([first, second], [second, first]):
        job = Job(read_step(Delivery("k", a_step("A").body)), offers)
        assert job.parting() == (second, [first])
