"""The broker is RabbitMQ, through pika.

One connection, never repaired in place: whatever ends it (a closed channel, a cancelled consumer, a publish
that was not confirmed in time) makes the transport unhealthy, `take` and `publish` raise `Unavailable`, and the
service connects anew. So there are no zombies, and no delivery of an old connection can be acked on a new one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Depth, Outgoing, Undeliverable
from anabranch.runtime.rabbitmq.channel import AccessRefused, Channel
from anabranch.runtime.rabbitmq.confirms import Confirms, Envelope
from anabranch.runtime.rabbitmq.connection import Connection, connect
from anabranch.runtime.rabbitmq.dead_queues import suspect
from anabranch.runtime.rabbitmq.errands import Errands
from anabranch.runtime.rabbitmq.inbox import RabbitInbox
from anabranch.runtime.rabbitmq.outages import BROKEN, leaving, reaching, unavailable
from anabranch.runtime.rabbitmq.packets import Properties
from anabranch.runtime.rabbitmq.parties import OPERATOR, Party
from anabranch_contracts.addresses import (
    EXCHANGE,
    FORMER_KEYS,
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
SIGNAL_SECONDS = 5.0
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
        self._connection: Connection | None = None
        self._errands: Errands | None = None
        self._refusal: BaseException | None = None
        self._channel: Channel | None = None
        self._publisher: Confirms | None = None
        self._inboxes: list[RabbitInbox] = []
        self._declared: set[str] = set()
        self._refused: set[str] = set()

    async def connect(self) -> None:
        """Connect and see that what every party needs is there; raises `Unavailable`."""
        with reaching("cannot be reached", self._party):
            async with asyncio.timeout(REACH_SECONDS):
                self._connection = await connect(self._url, self._heartbeat)
                self._connection.on_close.add(self._lost)
                self._errands = Errands(self._connection)
                self._channel = await self._open()
                self._publisher = Confirms(self._channel)
                await self._publisher.begin()
                await self._declare()
                await self.probe()

    async def _open(self) -> Channel:
        """A channel whose end is the end of all of it."""
        assert self._connection is not None
        channel = await self._connection.channel()
        channel.on_close.add(self._lost)
        return channel

    async def _declare(self) -> None:
        errands = self._errand()
        await errands.exchange(EXCHANGE, durable=True)
        await errands.exchange(SIGNALS, durable=False)
        for name, keys in SERVICE_QUEUES.items():
            if await errands.queue(name, dict(self._arguments)) or name in self._party.owns:
                for key in keys:
                    await errands.bind(name, EXCHANGE, key)
        for name in self._party.owns:
            for key in FORMER_KEYS.get(name, ()):
                await errands.unbind(name, EXCHANGE, key)

    def _errand(self) -> Errands:
        self._raw()
        assert self._errands is not None
        return self._errands

    def _confirms(self) -> Confirms:
        if self._publisher is None:
            gone = self._refusal or ConnectionError("the connection is gone")
            raise unavailable("cannot be used", gone, self._party)
        return self._publisher

    def _raw(self) -> Channel:
        self._confirms()
        assert self._channel is not None
        return self._channel

    async def probe(self) -> None:
        """Publish to nobody: confirmed by a broker that is there and takes what is published."""
        with reaching("confirms nothing", self._party):
            await self._confirms().publish([_unheard(EXCHANGE, PROBE, b"")], self._publish_timeout)

    def lose(self) -> None:
        self._lost()

    def _lost(self, why: BaseException | None = None) -> None:
        """Any end of the connection or a channel ends all of it."""
        self._refusal = self._refusal or (why if isinstance(why, AccessRefused) else None)
        self._publisher = None
        for inbox in self._inboxes:
            inbox.fail()

    def healthy(self) -> bool:
        """Whether the connection and its channels are open and no consumer was cancelled: each such end is told."""
        return self._publisher is not None

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
        with suppress(AccessRefused):
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
                channel = await self._open()
                await channel.qos(prefetch)
                inbox = RabbitInbox(channel, self._party, self._lost)
                self._inboxes.append(inbox)
                for queue in queues:
                    await inbox.subscribe(queue)
        return inbox

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all, confirmed; a step without a queue gets one and is published again."""
        for start in range(0, len(messages), IN_FLIGHT):
            await self._house(await self._send([_envelope(m) for m in messages[start : start + IN_FLIGHT]]))

    async def _house(self, messages: Sequence[Outgoing]) -> None:
        """Declare the queues of steps that were returned, and publish those again (under new ids)."""
        for message in messages:
            agent = agent_of(message.routing_key)
            if agent is not None:
                self._declared.discard(agent)
                await self.declare_steps([agent])
            if agent is None or await self._send([_envelope(message._replace(message_id=uuid7()))]):
                raise Undeliverable(f"RabbitMQ: no queue is bound for {message.routing_key}; restart the services")

    async def _send(self, envelopes: Sequence[Envelope]) -> list[Outgoing]:
        """Those that nobody takes. Every doubt about the outcome is `Unavailable`: publish again.

        A reply that its queue refuses is dropped like one to a queue that is gone: nobody else waits for it.
        """
        try:
            window = await self._confirms().publish(envelopes, self._publish_timeout)
        except BROKEN as error:
            self._lost()
            if isinstance(error, TimeoutError):
                self._suspect(envelopes)
            raise unavailable("did not take a message", error, self._party) from error
        for refused in window.refused:
            if refused.exchange:
                raise Undeliverable(f"RabbitMQ: a queue refuses what is published to it: {refused.routing_key}")
            log.warning("reply refused", queue=refused.routing_key, type=refused.properties.type)
        return [envelope.message for envelope in window.returned if envelope.message is not None]

    def _suspect(self, envelopes: Sequence[Envelope]) -> None:
        """See whether the queues of the steps are there at all; this connection need not last so long."""
        agents = {agent_of(envelope.routing_key): envelope.body for envelope in envelopes if envelope.exchange}
        for agent, body in agents.items():
            if agent is not None:
                suspect(self._url, agent, body)

    async def offer_again(self, message: Outgoing) -> bool:
        """By a channel of its own, that a refusal may close; what was refused once is not tried again."""
        if message.routing_key in self._refused:
            return False
        with reaching("did not take a copy", self._party):
            try:
                publisher = await self._errand().publisher()
                window = await publisher.publish([_envelope(message)], self._publish_timeout)
            except AccessRefused:
                self._refused.add(message.routing_key)
                return False
        return not window.returned and not window.refused

    async def park(self, delivery: Delivery, reason: str) -> None:
        headers = {**_small(delivery.headers), "reason": reason[:4000], "routing-key": delivery.routing_key}
        headers["parked-at"] = datetime.now(UTC).isoformat(timespec="seconds")
        aside = Outgoing(parked_key(self._party.name), delivery.body, uuid7(), "", delivery.correlation_id, headers)
        envelope = _envelope(aside)
        if delivery.message_id is not None:
            envelope = envelope._replace(properties=envelope.properties._replace(message_id=delivery.message_id))
        if await self._send([envelope]):  # the queue was made by an older release
            with reaching("cannot bind", self._party):
                await self._errand().bind(PARKED_QUEUE, EXCHANGE, *PARKED_KEYS)
            if await self._send([envelope]):
                raise Undeliverable("RabbitMQ: no queue takes what is set aside; restart the services")
        log.warning("parked", routing_key=delivery.routing_key, message_id=delivery.message_id, reason=reason[:300])

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
            await self._confirms().publish([_unheard(SIGNALS, routing_key, body)], SIGNAL_SECONDS)

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
            self._connection.on_close.discard(self._lost)
            await self._connection.close()
        self._lost()


def _small(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What of foreign headers can be kept beside a reason: all of them must fit into one frame."""
    kept = {name: value for name, value in headers.items() if isinstance(value, str | bool | int | float)}
    return {name: value for name, value in list(kept.items())[:MOST_HEADERS] if len(str(value)) <= LONGEST_HEADER}


def _envelope(message: Outgoing) -> Envelope:
    direct = message.reply_to_queue
    properties = Properties(
        str(message.message_id),
        message.type or None,
        message.correlation_id,
        message.headers,
        message.reply_to,
        kept=True,
    )
    if direct is not None:
        return Envelope("", direct, message.body, properties, False, message)
    return Envelope(EXCHANGE, message.routing_key, message.body, properties, message.mandatory, message)


def _unheard(exchange: str, routing_key: str, body: bytes) -> Envelope:
    """What nobody need listen to, and is kept for nobody."""
    return Envelope(exchange, routing_key, body, Properties(str(uuid7())))
