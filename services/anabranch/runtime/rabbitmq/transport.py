"""The broker is RabbitMQ, through aio-pika; the hot path uses its aiormq channel directly.

One connection, never repaired in place: whatever ends it (a closed channel, a cancelled consumer, a publish
that was not confirmed in time) makes the transport unhealthy, `take` and `publish` raise `Unavailable`, and the
service connects anew. So there are no zombies, and no delivery of an old connection can be acked on a new one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import spec
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.exceptions import ChannelAccessRefused, DeliveryError, PublishError

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Depth, Outgoing, Unavailable, Undeliverable
from anabranch.runtime.rabbitmq.dead_queues import suspect
from anabranch.runtime.rabbitmq.errands import Errands
from anabranch.runtime.rabbitmq.inbox import RabbitInbox
from anabranch.runtime.rabbitmq.outages import ANYTHING, broken, leaving, reaching, unavailable
from anabranch.runtime.rabbitmq.parties import OPERATOR, Party
from anabranch_contracts.addresses import (
    EXCHANGE,
    PARKED_KEYS,
    PARKED_QUEUE,
    PROBE,
    REPLY_QUEUES,
    SERVICE_QUEUES,
    SIGNALS,
    agent_of,
    parked_key,
    step_key,
    step_queue,
)

IN_FLIGHT = 256
REACH_SECONDS = 15.0
PERSISTENT = 2
MOST_HEADERS, LONGEST_HEADER = 50, 1000
log = structlog.get_logger(__name__)


class RabbitTransport:
    """One party's connection to RabbitMQ; implements `ports.Transport`."""

    def __init__(
        self,
        url: str,
        queue_type: str = "quorum",
        heartbeat: int = 10,
        publish_timeout: float = 10.0,
        party: Party = OPERATOR,
    ) -> None:
        self._url = url
        self._party = party
        self._arguments = {"x-queue-type": queue_type}
        self._heartbeat = heartbeat
        self._publish_timeout = publish_timeout
        self._connection: AbstractConnection | None = None
        self._errands: Errands | None = None
        self._refusal: BaseException | None = None
        self._channels: list[AbstractChannel] = []
        self._publisher: RawChannel | None = None
        self._inboxes: list[RabbitInbox] = []
        self._declared: set[str] = set()
        self._in_flight: dict[UUID, asyncio.Event] = {}
        self._refused: set[str] = set()

    async def connect(self) -> None:
        """Connect and see that what every party needs is there; raises `Unavailable`."""
        with reaching("cannot be reached", self._party):
            async with asyncio.timeout(REACH_SECONDS):
                self._connection = await aio_pika.connect(self._url, heartbeat=self._heartbeat)
                self._connection.close_callbacks.add(self._lost)
                self._errands = Errands(self._connection)
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
        errands = self._errand()
        await errands.exchange(EXCHANGE, durable=True)
        await errands.exchange(SIGNALS, durable=False)
        for name, keys in SERVICE_QUEUES.items():
            if await errands.queue(name, dict(self._arguments)) or name in self._party.owns:
                for key in keys:
                    await errands.bind(name, EXCHANGE, key)

    def _errand(self) -> Errands:
        self._raw()
        assert self._errands is not None
        return self._errands

    def _raw(self) -> RawChannel:
        if self._publisher is None or not self.healthy():
            gone = self._refusal or ConnectionError("the connection is gone")
            raise unavailable("cannot be used", gone, self._party)
        return self._publisher

    async def probe(self) -> None:
        """Publish to nobody: confirmed by a broker that is there and takes what is published."""
        with reaching("confirms nothing", self._party):
            await self._raw().basic_publish(b"", exchange=EXCHANGE, routing_key=PROBE, timeout=self._publish_timeout)

    def lose(self) -> None:
        self._lost()

    def _lost(self, _: Any = None, why: BaseException | None = None) -> None:
        """Any end of the connection or a channel ends all of it."""
        self._refusal = self._refusal or (why if isinstance(why, ChannelAccessRefused) else None)
        self._publisher = None
        for inbox in self._inboxes:
            inbox.fail()

    def healthy(self) -> bool:
        """Whether the connection and its channels are open and no consumer was cancelled."""
        connection, publisher = self._connection, self._publisher
        alive = connection is not None and not connection.is_closed
        return alive and publisher is not None and not publisher.is_closed and not any(i.failed for i in self._inboxes)

    async def declare_steps(self, agents: Sequence[str]) -> None:
        with reaching("cannot declare", self._party):
            for agent in agents:
                if agent not in self._declared:
                    async with asyncio.timeout(REACH_SECONDS):
                        await self._errand().queue(step_queue(agent), dict(self._arguments))
                        await self._bound(agent)
                    self._declared.add(agent)

    async def _bound(self, agent: str) -> None:
        """Bind the queue, or leave that to whoever sends it its first step: a worker need not have the right."""
        with suppress(ChannelAccessRefused):
            await self._errand().bind(step_queue(agent), EXCHANGE, step_key(agent))

    async def declare_reply_queue(self) -> str:
        """A queue of one's own, gone with the connection."""
        name = f"{REPLY_QUEUES}{uuid7().hex}"
        with reaching("cannot declare", self._party):
            await self._raw().queue_declare(name, exclusive=True, auto_delete=True)
        return name

    async def consume(self, queues: Sequence[str], prefetch: int) -> RabbitInbox:
        with reaching("cannot consume", self._party):
            self._raw()
            async with asyncio.timeout(REACH_SECONDS):
                raw = await self._channel(confirms=False)
                await raw.basic_qos(prefetch_count=prefetch)
                inbox = RabbitInbox(raw, self._party)
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
            if agent is not None:
                self._declared.discard(agent)
                await self.declare_steps([agent])
                with suppress(PublishError):
                    await self._guarded(self._send(message, message_id=str(uuid7())))
                    continue
            raise Undeliverable(f"RabbitMQ: no queue is bound for {message.routing_key}; restart the services")

    async def _publish_one(self, message: Outgoing) -> None:
        """One at a time of each id: the client tells confirms apart by it, and would give one the other's."""
        while (other := self._in_flight.get(message.message_id)) is not None:
            await other.wait()
        self._in_flight[message.message_id] = over = asyncio.Event()
        try:
            sending = self._send(message, str(message.message_id))
            await self._guarded(sending if message.reply_to_queue is None else self._offer(sending, message))
        except Unavailable as doubt:
            if isinstance(doubt.__cause__, TimeoutError):
                self._suspect(message)
            raise
        finally:
            del self._in_flight[message.message_id]
            over.set()

    def _suspect(self, message: Outgoing) -> None:
        """See whether the step's queue is there at all; this connection need not last so long."""
        agent = agent_of(message.routing_key)
        if agent is not None:
            suspect(self._url, agent, message.body)

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
        except DeliveryError as refusal:
            raise Undeliverable(f"RabbitMQ: a queue refuses what is published to it: {refusal}") from refusal
        except ANYTHING as error:
            if not broken(error):
                raise
            self._lost()
            raise unavailable("did not take a message", error, self._party) from error

    async def _send(self, message: Outgoing, message_id: str, channel: RawChannel | None = None) -> None:
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
        await (channel or self._raw()).basic_publish(
            message.body,
            exchange="" if direct is not None else EXCHANGE,
            routing_key=direct if direct is not None else message.routing_key,
            properties=properties,
            mandatory=message.mandatory and direct is None,
            timeout=self._publish_timeout,
        )

    async def offer_again(self, message: Outgoing) -> bool:
        """By a channel of its own, that a refusal may close; what was refused once is not tried again."""
        if message.routing_key in self._refused:
            return False
        with reaching("did not take a copy", self._party):
            try:
                await self._send(message, str(uuid7()), await self._errand().publisher())
            except ChannelAccessRefused:
                self._refused.add(message.routing_key)
                return False
            except DeliveryError:
                return False
        return True

    async def park(self, delivery: Delivery, reason: str) -> None:
        headers = {**_small(delivery.headers), "reason": reason[:4000], "routing-key": delivery.routing_key}
        headers["parked-at"] = datetime.now(UTC).isoformat(timespec="seconds")
        properties = spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_id=delivery.message_id or str(uuid7()),
            correlation_id=delivery.correlation_id,
            headers=headers,
        )
        try:
            await self._set_aside(delivery.body, properties)
        except PublishError:  # the queue was made by an older release
            with reaching("cannot bind", self._party):
                await self._errand().bind(PARKED_QUEUE, EXCHANGE, *PARKED_KEYS)
            await self._set_aside(delivery.body, properties)
        log.warning("parked", routing_key=delivery.routing_key, message_id=delivery.message_id, reason=reason[:300])

    async def _set_aside(self, body: bytes, properties: spec.Basic.Properties) -> None:
        key, seconds = parked_key(self._party.name), self._publish_timeout
        await self._guarded(
            self._raw().basic_publish(
                body, exchange=EXCHANGE, routing_key=key, properties=properties, mandatory=True, timeout=seconds
            )
        )

    async def depth(self, queue: str) -> Depth | None:
        with reaching("does not answer", self._party):
            return await self._errand().depth(queue)

    async def purge(self, queue: str) -> int:
        with reaching("does not answer", self._party):
            return await self._errand().purge(queue)

    async def marked(self, mark: str) -> bool:
        with reaching("does not answer", self._party):
            return await self._errand().marked(mark)

    async def mark(self, mark: str) -> None:
        with reaching("does not answer", self._party):
            await self._errand().mark(mark)

    async def unmark(self, mark: str) -> None:
        with reaching("does not answer", self._party):
            await self._errand().unmark(mark)

    async def publish_signal(self, routing_key: str, body: bytes) -> None:
        """Tell whoever listens now; kept for nobody."""
        with leaving():
            await self._raw().basic_publish(body, exchange=SIGNALS, routing_key=routing_key, timeout=5)

    async def listen_signals(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Live signals whose key matches."""
        with reaching("cannot listen", self._party):
            name = (await self._raw().queue_declare("", exclusive=True, auto_delete=True)).queue or ""
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
            with leaving(), suppress(asyncio.CancelledError):
                async with asyncio.timeout(5):
                    await self._connection.close()
        self._lost()


def _small(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What of foreign headers can be kept beside a reason: all of them must fit into one frame."""
    kept = {name: value for name, value in headers.items() if isinstance(value, str | bool | int | float)}
    return {name: value for name, value in list(kept.items())[:MOST_HEADERS] if len(str(value)) <= LONGEST_HEADER}


def _raise_first(outcomes: Sequence[Any]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
