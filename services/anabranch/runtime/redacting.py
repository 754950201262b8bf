"""A transport that redacts whatever comes in, goes out or is parked; so nobody behind it has to think of it."""

from collections.abc import AsyncIterator, Sequence

from anabranch.runtime.ports import Delivery, Depth, Inbox, Outgoing, Transport
from anabranch.runtime.redaction import Redaction


def redacting(transport: Transport, redaction: Redaction) -> Transport:
    """The transport, redacting where there is anything to redact."""
    return RedactingTransport(transport, redaction) if redaction else transport


class RedactingInbox:
    """Deliveries lose what is to be left out before anybody sees them."""

    def __init__(self, inbox: Inbox, redaction: Redaction) -> None:
        self._inbox = inbox
        self._redaction = redaction

    @property
    def failed(self) -> bool:
        return self._inbox.failed

    async def take(self, limit: int) -> list[Delivery]:
        taken = await self._inbox.take(limit)
        for delivery in taken:
            delivery.body = self._redaction.body(delivery.body)
            delivery.headers = self._redaction.headers(delivery.headers)
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._inbox.ack(deliveries)

    def flush(self) -> None:
        self._inbox.flush()

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        await self._inbox.requeue(deliveries)

    async def untaken(self) -> list[Delivery]:
        return await self._inbox.untaken()

    async def stop(self) -> None:
        await self._inbox.stop()


class RedactingTransport:
    """Implements `ports.Transport` over another one."""

    def __init__(self, transport: Transport, redaction: Redaction) -> None:
        self._transport = transport
        self._redaction = redaction

    async def connect(self) -> None:
        await self._transport.connect()

    async def declare_steps(self, agents: Sequence[str]) -> None:
        await self._transport.declare_steps(agents)

    async def declare_reply_queue(self) -> str:
        return await self._transport.declare_reply_queue()

    async def consume(self, queues: Sequence[str], prefetch: int) -> Inbox:
        return RedactingInbox(await self._transport.consume(queues, prefetch), self._redaction)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        clean = self._redaction.body
        await self._transport.publish([one._replace(body=clean(one.body)) for one in messages])

    async def offer_again(self, message: Outgoing) -> bool:
        return await self._transport.offer_again(message._replace(body=self._redaction.body(message.body)))

    async def park(self, delivery: Delivery, reason: str) -> None:
        await self._transport.park(delivery, self._redaction.text(reason))

    async def depth(self, queue: str) -> Depth | None:
        return await self._transport.depth(queue)

    async def purge(self, queue: str) -> int:
        return await self._transport.purge(queue)

    async def marked(self, mark: str) -> bool:
        return await self._transport.marked(mark)

    async def mark(self, mark: str) -> None:
        await self._transport.mark(mark)

    async def unmark(self, mark: str) -> None:
        await self._transport.unmark(mark)

    async def publish_signal(self, routing_key: str, body: bytes) -> None:
        await self._transport.publish_signal(routing_key, self._redaction.body(body))

    def listen_signals(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        return self._transport.listen_signals(pattern)

    def healthy(self) -> bool:
        return self._transport.healthy()

    async def probe(self) -> None:
        await self._transport.probe()

    def lose(self) -> None:
        self._transport.lose()

    async def close(self) -> None:
        await self._transport.close()
