"""The two sides of a worker: ask for steps, read results, over any transport."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import orjson

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Inbox, Outgoing, Transport
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE, step_key

RUN = UUID(int=7)


def a_step(agent: str, request: Any = None, **fields: Any) -> Outgoing:
    """A `StepRequested` on the wire."""
    body = {"run_id": str(RUN), "branch_id": "0", "step_id": f"0#{uuid4()}", "step_number": 1, "attempt": 1}
    return outgoing(agent, orjson.dumps({**body, "agent": agent, "request": request, **fields}))


def outgoing(agent: str, body: bytes) -> Outgoing:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "private": "no"}
    return Outgoing(step_key(agent), body, uuid7(), "StepRequested", str(RUN), headers)


@dataclass
class Asker:
    """What router and supervisor are to a worker."""

    transport: Transport
    results: Inbox
    parked: Inbox

    @classmethod
    async def over(cls, transport: Transport) -> "Asker":
        results = await transport.consume([ROUTER_QUEUE, SUPERVISOR_QUEUE], 1000)
        return cls(transport, results, await transport.consume([PARKED_QUEUE], 1000))

    async def ask(self, *messages: Outgoing) -> None:
        await self.transport.publish(messages)

    async def result(self) -> tuple[Delivery, dict[str, Any]]:
        """The next result, acked."""
        (delivery,) = await self.results.take(1)
        await self.results.ack([delivery])
        return delivery, orjson.loads(delivery.body)
