"""Both deciding services over memory."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson

from anabranch.domain.deciders import Router, Supervisor
from anabranch.runtime.handler import Handler
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Delivery, Inbox, Outgoing
from anabranch.runtime.reading import Inbound
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE
from tests.unit.domain.runs import Former

JSON = Any


async def through(handler: Handler, deliveries: Sequence[Delivery], inbox: Inbox) -> list[Inbound]:
    """Have them read and handled; what was left."""
    return await handler.tell(await handler.settle(await handler.read(deliveries, inbox)), inbox)


def asked(run_id: UUID, reply_to: str | None = None, **headers: str) -> Outgoing:
    """A request for a run of one agent, `A`."""
    body = orjson.dumps({"run_id": run_id, "task": "t", "topology": {"nodes": ["A"], "edges": []}})
    return Outgoing("run.requested", body, uuid4(), "", headers=headers, reply_to=reply_to)


class House:
    """Takes messages, handles them and all that follows, and says what has come to a queue."""

    def __init__(self) -> None:
        self.broker, self.store = MemoryBroker(), MemoryStore()
        self.transport = MemoryTransport(self.broker)

    @classmethod
    async def opened(cls) -> "House":
        """A house whose queues are there."""
        house = cls()
        await house.transport.connect()
        return house

    async def tell(self, key: str, body: JSON, reply_to: str | None = None, message_id: UUID | None = None) -> None:
        """Publish a message, and handle it and everything that follows."""
        correlation = f"for {reply_to}"
        message = Outgoing(key, orjson.dumps(body), message_id or uuid4(), "", correlation, reply_to=reply_to)
        await self.transport.publish([message])
        await self.settle()

    async def settle(self) -> None:
        """Handle everything that is there."""
        while await self._work(Router(), ROUTER_QUEUE) or await self._work(Supervisor(), SUPERVISOR_QUEUE):
            pass

    async def _work(self, decider: Any, queue: str) -> bool:
        inbox = await self.transport.consume([queue], 10)
        deliveries = inbox.poll(10)
        if deliveries:
            await through(Handler(decider, self.store, self.transport), deliveries, inbox)
        return bool(deliveries)

    async def reply(self, run_id: UUID, response: JSON, step_id: str = "b0#1") -> None:
        """Let a step be done."""
        step = {"run_id": run_id, "branch_id": step_id.partition("#")[0], "step_id": step_id, "attempt": 1}
        await self.tell("step.completed", {**step, "response": response})

    async def tell_former(self, key: str, run_id: UUID, response: JSON) -> None:
        """Let the first step be done, by a router that leaves what is due to the supervisor."""
        step = {"run_id": run_id, "branch_id": "b0", "step_id": "b0#1", "attempt": 1, "response": response}
        await self.transport.publish([Outgoing(key, orjson.dumps(step), uuid4(), "")])
        await self._work(Former(), ROUTER_QUEUE)

    async def taken(self, queue: str) -> list[tuple[str | None, JSON]]:
        """Correlation id and body of what has come to a queue since."""
        inbox = await self.transport.consume([queue], 100)
        found = inbox.poll(100)
        await inbox.ack(found)
        return [(delivery.correlation_id, orjson.loads(delivery.body)) for delivery in found]

    def events(self, run_id: UUID) -> list[str]:
        """Types of all events of a run."""
        return [type(recorded.event).__name__ for recorded in self.store.streams[run_id]]
