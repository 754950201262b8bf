"""The broker is RabbitMQ, through aio-pika; the hot path uses its aiormq channel directly.

One connection, never repaired in place: whatever ends it (a closed channel, a cancelled consumer, a publish
that was not confirmed in time) makes the transport unhealthy, `take` and `publish` raise `Unavailable`, and the
service connects anew. So there are no zombies, and no delivery of an old connection can be acked on a new one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import spec
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.exceptions import AMQPError, DeliveryError, PublishError

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Outgoing, Unavailable
from anabranch.runtime.rabbitmq.dead_queues import NOBODY, bury
from anabranch.runtime.rabbitmq.inbox import RabbitInbox
from anabranch_contracts.addresses import (
    EXCHANGE,
    PARKED_QUEUE,
    ROUTER_KEYS,
    ROUTER_QUEUE,
    SIGNALS,
    SUPERVISOR_KEYS,
    SUPERVISOR_QUEUE,
    agent_of,
    step_key,
    step_queue,
)

IN_FLIGHT = 256
REACH_SECONDS = 15.0
PERSISTENT = 2
MOST_HEADERS, LONGEST_HEADER = 50, 1000
BROKEN = (AMQPError, OSError, TimeoutError, RuntimeError)
log = structlog.get_logger(__name__)


class RabbitTransport:
    """One party's connection to RabbitMQ; implements `ports.Transport`."""

    def __init__(
        self, url: str, queue_type: str = "quorum", heartbeat: int = 10, publish_timeout: float = 30.0
    ) -> None:
        self._url = url
        self._arguments = {"x-queue-type": queue_type}
        self._heartbeat = heartbeat
        self._publish_timeout = publish_timeout
        self._connection: AbstractConnection | None = None
        self._channels: list[AbstractChannel] = []
        self._publisher: RawChannel | None = None
        self._inboxes: list[RabbitInbox] = []
        self._declared: set[str] = set()
        self._in_flight: dict[UUID, asyncio.Event] = {}

    async def connect(self) -> None:
        """Connect and declare what every service needs; raises `Unavailable`."""
        with _reachable():
            async with asyncio.timeout(REACH_SECONDS):
                self._connection = await aio_pika.connect(self._url, heartbeat=self._heartbeat)
                self._connection.close_callbacks.add(self._lost)
                self._publisher = await self._channel(confirms=True)
                await self._declare()
                await self.probe()

    async def _channel(self, confirms: bool) -> RawChannel:
        assert self._connection is not None
        channel = await self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        channel.close_callbacks.add(self._lost)
        self._channels.append(channel)
        return await channel.get_underlay_channel()

    async def _declare(self) -> None:
        raw = self._raw()
        await raw.exchange_declare(exchange=EXCHANGE, exchange_type="topic", durable=True)
        await raw.exchange_declare(exchange=SIGNALS, exchange_type="topic", durable=False)
        await self._queue(ROUTER_QUEUE, ROUTER_KEYS)
        await self._queue(SUPERVISOR_QUEUE, SUPERVISOR_KEYS)
        await self._queue(PARKED_QUEUE, ())

    async def _queue(self, name: str, keys: Sequence[str]) -> None:
        raw = self._raw()
        await raw.queue_declare(name, durable=True, arguments=dict(self._arguments))
        for key in keys:
            await raw.queue_bind(name, EXCHANGE, key)

    def _raw(self) -> RawChannel:
        if self._publisher is None or not self.healthy():
            raise Unavailable("RabbitMQ: the connection is gone")
        return self._publisher

    async def probe(self) -> None:
        """Publish to nobody: confirmed by a broker that is there and takes what is published."""
        try:
            await self._raw().basic_publish(b"", routing_key=NOBODY, timeout=self._publish_timeout)
        except BROKEN as error:
            raise Unavailable(f"RabbitMQ confirms nothing: {error or type(error).__name__}") from error

    def lose(self) -> None:
        self._lost()

    def _lost(self, *_: Any) -> None:
        """Any end of the connection or a channel ends all of it."""
        self._publisher = None
        for inbox in self._inboxes:
            inbox.fail()

    def healthy(self) -> bool:
        """Whether the connection and its channels are open and no consumer was cancelled."""
        connection, publisher = self._connection, self._publisher
        alive = connection is not None and not connection.is_closed
        return alive and publisher is not None and not publisher.is_closed and not any(i.failed for i in self._inboxes)

    async def declare_steps(self, agents: Sequence[str]) -> None:
        with _reachable():
            for agent in agents:
                if agent not in self._declared:
                    async with asyncio.timeout(REACH_SECONDS):
                        await self._queue(step_queue(agent), [step_key(agent)])
                    self._declared.add(agent)

    async def declare_reply_queue(self) -> str:
        """A queue of one's own, gone with the connection."""
        name = f"anabranch.reply.{uuid7().hex}"
        await self._raw().queue_declare(name, exclusive=True, auto_delete=True)
        return name

    async def consume(self, queues: Sequence[str], prefetch: int) -> RabbitInbox:
        self._raw()
        with _reachable():
            async with asyncio.timeout(REACH_SECONDS):
                raw = await self._channel(confirms=False)
                await raw.basic_qos(prefetch_count=prefetch)
                inbox = RabbitInbox(raw)
                self._inboxes.append(inbox)
                for queue in queues:
                    await inbox.subscribe(queue)
        return inbox

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all, confirmed; a step without a queue gets one and is published again."""
        for start in range(0, len(messages), IN_FLIGHT):
            window = messages[start : start + IN_FLIGHT]
            outcomes = await asyncio.gather(*map(self._publish_one, window), return_exceptions=True)
            homeless = [m for m, outcome in zip(window, outcomes, strict=True) if isinstance(outcome, PublishError)]
            _raise_first([o for o in outcomes if o is not None and not isinstance(o, PublishError)])
            await self._house(homeless)

    async def _house(self, messages: Sequence[Outgoing]) -> None:
        """Declare the queues of steps that were returned, and publish those again (under new ids)."""
        for message in messages:
            agent = agent_of(message.routing_key)
            if agent is None:
                raise Unavailable(f"RabbitMQ: no queue is bound for {message.routing_key}; restart the services")
            self._declared.discard(agent)
            await self.declare_steps([agent])
            await self._guarded(self._send(message, message_id=str(uuid7())))

    async def _publish_one(self, message: Outgoing) -> None:
        """One at a time of each id: the client tells confirms apart by it, and would give one the other's."""
        while (other := self._in_flight.get(message.message_id)) is not None:
            await other.wait()
        self._in_flight[message.message_id] = over = asyncio.Event()
        try:
            sending = self._send(message, str(message.message_id))
            await self._guarded(sending if message.reply_to_queue is None else self._offer(sending, message))
        except Unavailable as doubt:
            agent = agent_of(message.routing_key)
            if agent is not None and isinstance(doubt.__cause__, TimeoutError) and self._connection is not None:
                await bury(self._connection, step_queue(agent))
            raise
        finally:
            del self._in_flight[message.message_id]
            over.set()

    async def _offer(self, sending: Any, reply: Outgoing) -> None:
        """A reply that its queue refuses is dropped like one to a queue that is gone: nobody else waits for it."""
        try:
            await sending
        except DeliveryError as refusal:
            log.warning("reply refused", queue=reply.reply_to_queue, type=reply.type, error=str(refusal))

    async def _guarded(self, sending: Any) -> None:
        """Every doubt about the outcome is `Unavailable`: publish again."""
        try:
            await sending
        except PublishError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._lost()
            raise Unavailable("RabbitMQ: a publish was cut off, its outcome is unknown") from None
        except BROKEN as error:
            self._lost()
            raise Unavailable(f"RabbitMQ: a publish failed: {error or type(error).__name__}") from error

    async def _send(self, message: Outgoing, message_id: str) -> None:
        direct = message.reply_to_queue
        properties = spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_type=message.type or None,
            message_id=message_id,
            correlation_id=message.correlation_id,
            headers=dict(message.headers) or None,
            reply_to=message.reply_to,
        )
        await self._raw().basic_publish(
            message.body,
            exchange="" if direct is not None else EXCHANGE,
            routing_key=direct if direct is not None else message.routing_key,
            properties=properties,
            mandatory=message.mandatory and direct is None,
            timeout=self._publish_timeout,
        )

    async def park(self, delivery: Delivery, reason: str) -> None:
        headers = {**_small(delivery.headers), "reason": reason[:4000], "routing-key": delivery.routing_key}
        properties = spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_id=delivery.message_id or str(uuid7()),
            correlation_id=delivery.correlation_id,
            headers=headers,
        )
        publishing = self._raw().basic_publish(
            delivery.body, routing_key=PARKED_QUEUE, properties=properties, timeout=self._publish_timeout
        )
        await self._guarded(publishing)
        log.warning("parked", routing_key=delivery.routing_key, message_id=delivery.message_id, reason=reason[:300])

    async def publish_signal(self, routing_key: str, body: bytes) -> None:
        """Tell whoever listens now; kept for nobody."""
        with suppress(*BROKEN):
            await self._raw().basic_publish(body, exchange=SIGNALS, routing_key=routing_key, timeout=5)

    async def listen_signals(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Live signals whose key matches."""
        name = f"anabranch.signals.{uuid7().hex}"
        await self._raw().queue_declare(name, exclusive=True, auto_delete=True)
        await self._raw().queue_bind(name, SIGNALS, pattern)
        inbox = await self.consume([name], 1000)
        while deliveries := await inbox.take(1000):
            await inbox.ack(deliveries)
            for delivery in deliveries:
                yield delivery.routing_key, delivery.body

    async def close(self) -> None:
        """Consumers were stopped and their handlers are done; then channels, then the connection."""
        for inbox in self._inboxes:
            await inbox.stop()
        if self._connection is not None:
            self._connection.close_callbacks.discard(self._lost)
            with suppress(*BROKEN, asyncio.CancelledError):
                async with asyncio.timeout(5):
                    await self._connection.close()
        self._lost()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise Unavailable(f"RabbitMQ cannot be reached: {error or type(error).__name__}") from error


def _small(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What of foreign headers can be kept beside a reason: all of them must fit into one frame."""
    kept = {name: value for name, value in headers.items() if isinstance(value, str | bool | int | float)}
    return {name: value for name, value in list(kept.items())[:MOST_HEADERS] if len(str(value)) <= LONGEST_HEADER}


def _raise_first(outcomes: Sequence[Any]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
