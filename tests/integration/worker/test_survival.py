"""Steps in hand through duplicates, doubts, cuts, drains and defects."""

import asyncio
from typing import Any

import pytest

from anabranch.agent_worker.app import Worker
from anabranch.agent_worker.steps import losses
from anabranch.runtime.memory.transport import MemoryBroker, MemoryInbox, MemoryTransport
from anabranch.runtime.ports import Delivery, Outgoing, Unavailable
from tests.integration.worker.bench import Gate, PerQueue, a_worker, registry, serving, waiting
from tests.integration.worker.wire import Asker, a_step


async def test_a_duplicate_joins_the_step_in_hand(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    async with serving(broker, registry(A=gate)):
        step = a_step("A", "once")
        await asker.ask(step, step, a_step("A", "other"))
        assert [await gate.begun.get(), await gate.begun.get()] == ["once", "other"]
        gate.go.set()
        assert {(await asker.result())[1]["response"] for _ in range(2)} == {"once", "other"}
    assert gate.begun.empty()


class Doubtful(MemoryTransport):
    """Two publishes fail: one that got through and one that did not."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.tried: list[Outgoing] = []

    async def publish(self, messages: Any) -> None:
        self.tried.extend(messages)
        if len(self.tried) != 1:
            await super().publish(messages)
        if len(self.tried) < 3:
            raise Unavailable("outcome unknown")


async def test_a_result_in_doubt_is_published_again_as_the_same_message(broker: MemoryBroker, asker: Asker) -> None:
    transport = Doubtful(broker)
    async with serving(broker, registry(A=lambda: 1), transport):
        await asker.ask(a_step("A"))
        ids = {(await asker.result())[0].message_id for _ in range(2)}
    assert len(transport.tried) == 3
    assert ids == {str(transport.tried[0].message_id)}


class Cut(MemoryTransport):
    """A connection that can be cut as RabbitMQ's is."""

    async def consume(self, queues: Any, prefetch: int) -> Any:
        inbox = await super().consume(queues, prefetch)
        take, ack = inbox.take, inbox.ack

        async def take_or_fail(limit: int) -> list[Delivery]:
            deliveries = await take(limit)
            if self._closed:
                raise Unavailable("the connection is gone")
            return deliveries

        async def ack_or_fail(deliveries: Any) -> None:
            if self._closed:
                raise Unavailable("the connection is gone")
            await ack(deliveries)

        inbox.take, inbox.ack = take_or_fail, ack_or_fail  # type: ignore[method-assign]
        return inbox


async def test_a_step_in_hand_outlives_its_connection(broker: MemoryBroker, asker: Asker) -> None:
    gate, first = Gate(), Cut(broker)
    worker = Worker(first, registry(A=gate))
    running = asyncio.create_task(worker.run())
    await asker.ask(a_step("A", "kept"))
    await gate.begun.get()
    await first.close()
    with pytest.raises(Unavailable):
        await running
    assert waiting(broker, "A")[0].redelivered
    second = MemoryTransport(broker)
    worker.attach(second)
    running = asyncio.create_task(worker.run())
    await worker.ready.wait()
    gate.go.set()
    assert (await asker.result())[1]["response"] == "kept"
    await worker.stop()
    await running
    await second.close()
    assert gate.begun.empty()
    assert not waiting(broker, "A")


async def test_stop_finishes_what_runs_and_gives_back_what_does_not(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    worker = Worker(PerQueue(broker), registry(A=gate, B=gate), concurrency=1)
    running = asyncio.create_task(worker.run())
    await asker.ask(a_step("A", "runs"), a_step("B", "waits"))
    assert await gate.begun.get() == "runs"
    await worker.stop()
    gate.go.set()
    await running
    assert (await asker.result())[1]["response"] == "runs"
    assert [losses(delivery) for delivery in waiting(broker, "B")] == [0], "who leaves is not lost"
    assert gate.begun.empty()


class Unconfirmed(MemoryTransport):
    """Its publishes never end."""

    entered: asyncio.Event

    async def publish(self, messages: Any) -> None:
        self.entered.set()
        await asyncio.Event().wait()


async def test_a_step_is_not_acked_before_its_result_is_confirmed(broker: MemoryBroker, asker: Asker) -> None:
    transport = Unconfirmed(broker)
    transport.entered = asyncio.Event()
    running = asyncio.create_task(Worker(transport, registry(A=lambda: 1)).run())
    await asker.ask(a_step("A"))
    await transport.entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(waiting(broker, "A")) == 1


async def test_what_does_not_finish_in_time_is_offered_to_others(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    worker = a_worker(broker, registry(A=gate), drain_seconds=0.01)
    running = asyncio.create_task(worker.run())
    await asker.ask(a_step("A", "long"))
    await gate.begun.get()
    await worker.stop()
    await running
    assert [losses(delivery) for delivery in waiting(broker, "A")] == [0], "who leaves is not lost"
    gate.go.set()
    async with serving(broker, registry(A=gate)):
        assert (await asker.result())[1]["response"] == "long"


async def test_a_cancelled_worker_gives_everything_back(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    running = asyncio.create_task(a_worker(broker, registry(A=gate)).run())
    await asker.ask(a_step("A"))
    await gate.begun.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(waiting(broker, "A")) == 1


async def test_a_defect_of_the_worker_ends_it(
    broker: MemoryBroker, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise AssertionError("defect")

    monkeypatch.setattr("anabranch.agent_worker.app.result_message", broken)
    running = asyncio.create_task(a_worker(broker, registry(A=lambda: 1)).run())
    await asker.ask(a_step("A"))
    with pytest.raises(AssertionError, match="defect"):
        await running
    assert len(waiting(broker, "A")) == 1


async def test_what_is_acked_is_told_before_another_step_begins(
    broker: MemoryBroker, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that ends its worker would have its neighbours counted as lost with it."""
    order: list[str] = []
    monkeypatch.setattr(MemoryInbox, "flush", lambda _: order.append("told"))
    async with serving(broker, registry(A=lambda: order.append("begun"))):
        for _ in range(2):
            await asker.ask(a_step("A"))
            await asker.result()
    assert order == ["told", "begun"] * 2
