"""The pipeline: a defect parks one message and no more; trace context is carried through."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson

from anabranch.domain.deciders import Router
from anabranch.runtime.handler import Handler
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, step_queue
from tests.unit.runtime.house import asked, through

BAD = UUID(int=13)


class Clumsy(Router):
    """A router with a defect that one run brings to light."""

    def decide(self, turn: Any, message: Any) -> None:
        super().decide(turn, message)
        if message.run_id == BAD:
            raise ZeroDivisionError("oh")


class Stumbling(MemoryTransport):
    """A transport with a defect that shows once, when there is something to publish."""

    stumbled = False

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if not self.stumbled:
            self.stumbled = True
            raise ZeroDivisionError("oh")
        await super().publish(messages)


async def connected(broker: MemoryBroker | None = None) -> tuple[MemoryTransport, MemoryStore]:
    transport = MemoryTransport(broker or MemoryBroker())
    await transport.connect()
    return transport, MemoryStore()


async def test_a_defect_parks_the_message_that_shows_it_and_serves_the_others() -> None:
    transport, store = await connected()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    good = [uuid4(), uuid4()]
    await transport.publish([asked(run_id) for run_id in (good[0], BAD, good[1])])
    await through(Handler(Clumsy(), store, transport), inbox.poll(10), inbox)
    assert set(store.streams) == set(good) and inbox.poll(10) == []
    (parked,) = (await transport.consume([PARKED_QUEUE], 10)).poll(10)
    assert "ZeroDivisionError" in parked.headers["reason"]


async def test_what_was_stored_before_a_defect_showed_is_announced_all_the_same() -> None:
    broker = MemoryBroker()
    (transport, store), stumbling = await connected(broker), Stumbling(broker)
    routed = await transport.consume([ROUTER_QUEUE], 10)
    runs = [uuid4(), uuid4()]
    await transport.publish([asked(run_id) for run_id in runs])
    await through(Handler(Router(), store, stumbling), routed.poll(10), routed)
    steps = (await transport.consume([step_queue("A")], 10)).poll(10)
    assert stumbling.stumbled and [orjson.loads(s.body)["run_id"] for s in steps] == [str(run_id) for run_id in runs]
    assert [len(stream) for stream in store.streams.values()] == [3, 3] and routed.poll(10) == []
    assert (await transport.consume([PARKED_QUEUE], 10)).poll(10) == []


async def test_trace_context_is_carried_from_the_request_to_the_step() -> None:
    transport, store = await connected()
    routed = await transport.consume([ROUTER_QUEUE], 10)
    await transport.publish([asked(uuid4(), traceparent="00-abc")])
    await through(Handler(Router(), store, transport), routed.poll(10), routed)
    (step,) = (await transport.consume([step_queue("A")], 10)).poll(10)
    assert step.headers == {"traceparent": "00-abc"}


async def test_the_same_request_twice_is_one_run() -> None:
    transport, store = await connected()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    twice = asked(uuid4())
    await transport.publish([twice, twice])
    handler = Handler(Router(), store, transport)
    await through(handler, inbox.poll(10), inbox)
    await transport.publish([twice])
    await through(handler, inbox.poll(10), inbox)
    assert [len(stream) for stream in store.streams.values()] == [3]
