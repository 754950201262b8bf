"""A raw AMQP client for tests: publish bodies and commands, collect questions, answers and outcomes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Inbox, Outgoing
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import EXCHANGE

ASKED = "user.requested"


class Client:
    """Remembers each outcome by run id, each answer to a command by its message id, and, once it listens, questions."""

    def __init__(self, transport: RabbitTransport, queue: str, inbox: Inbox) -> None:
        self.transport = transport
        self._queue = queue
        self._inbox = inbox
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.questions: list[dict[str, Any]] = []

    async def publish(self, key: str, bodies: Sequence[bytes]) -> list[str]:
        """Publish raw bodies, confirmed, each with an id of its own; returns the ids."""
        messages = [Outgoing(key, body, uuid7(), "", reply_to=self._queue) for body in bodies]
        await self.transport.publish(messages)
        return [str(message.message_id) for message in messages]

    async def request(self, run_ids: Sequence[UUID], topology: Any, task: Any = "go", config: Any = None) -> None:
        """Ask for one run for each id."""
        shared = {"task": task, "topology": topology, "config": config or {}}
        await self.publish("run.requested", [orjson.dumps({"run_id": run_id, **shared}) for run_id in run_ids])

    async def command(self, key: str, **body: Any) -> dict[str, Any]:
        """Publish a command; what it came to."""
        (identity,) = await self.publish(key, [orjson.dumps(body)])
        await self.until(lambda: identity in self.answers, 30)
        return self.answers.pop(identity)

    async def listen(self) -> None:
        """Hear of every question that is put from now on."""
        await self.transport._raw().queue_bind(self._queue, EXCHANGE, ASKED)

    async def collect(self, count: int, seconds: float) -> None:
        """Wait until so many runs have an outcome."""
        await self.until(lambda: len(self.outcomes) >= count, seconds)

    async def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Take what comes until the condition holds."""
        async with asyncio.timeout(seconds):
            while not true():
                deliveries = await self._inbox.take(1000)
                for delivery in deliveries:
                    self._sort(delivery.routing_key, delivery.correlation_id, orjson.loads(delivery.body))
                await self._inbox.ack(deliveries)

    def _sort(self, key: str, correlation: str | None, body: dict[str, Any]) -> None:
        if key == ASKED:
            self.questions.append(body)
        elif "accepted" in body:
            self.answers[str(correlation)] = body
        else:
            self.outcomes[body["run_id"]] = body


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
