"""A raw AMQP client for tests: publish bodies, collect outcomes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Inbox, Outgoing
from anabranch.runtime.rabbitmq.transport import RabbitTransport


class Client:
    """Publishes `run.requested`, remembers each outcome by run id."""

    def __init__(self, transport: RabbitTransport, queue: str, inbox: Inbox) -> None:
        self.transport = transport
        self._queue = queue
        self._inbox = inbox
        self.outcomes: dict[str, dict[str, Any]] = {}

    async def publish(self, key: str, bodies: Sequence[bytes]) -> None:
        """Publish raw bodies, confirmed, each with an id of its own."""
        await self.transport.publish([Outgoing(key, body, uuid7(), "", reply_to=self._queue) for body in bodies])

    async def request(self, run_ids: Sequence[UUID], topology: Any, task: Any = "go", config: Any = None) -> None:
        """Ask for one run for each id."""
        shared = {"task": task, "topology": topology, "config": config or {}}
        await self.publish("run.requested", [orjson.dumps({"run_id": run_id, **shared}) for run_id in run_ids])

    async def collect(self, count: int, seconds: float) -> None:
        """Wait until so many runs have an outcome."""
        async with asyncio.timeout(seconds):
            while len(self.outcomes) < count:
                deliveries = await self._inbox.take(1000)
                for delivery in deliveries:
                    body = orjson.loads(delivery.body)
                    self.outcomes[body["run_id"]] = body
                await self._inbox.ack(deliveries)


@asynccontextmanager
async def client(amqp_url: str) -> AsyncIterator[Client]:
    """Connected for the duration."""
    transport = RabbitTransport(amqp_url)
    try:
        await transport.connect()
        queue = await transport.declare_reply_queue()
        yield Client(transport, queue, await transport.consume([queue], 1000))
    finally:
        await transport.close()
