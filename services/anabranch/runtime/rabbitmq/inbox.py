"""A consumer on one RabbitMQ channel; deliveries pile up between two takes and become a batch."""

import asyncio
from collections import deque
from collections.abc import Sequence

from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from anabranch.runtime.ports import Delivery, Unavailable
from anabranch.runtime.rabbitmq.outages import leaving, reaching
from anabranch.runtime.rabbitmq.parties import Party

LEAVE_SECONDS = 5.0


class RabbitInbox:
    """Implements `ports.Inbox`; fails for good when its channel does or the broker cancels it."""

    def __init__(self, channel: AbstractChannel, party: Party) -> None:
        self._channel = channel
        self._party = party
        self._waiting: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._tags: list[str] = []
        self._stopped = False
        self.failed = False
        channel.on_consumer_cancel_callbacks.add(self._cancelled)

    async def subscribe(self, queue: str) -> None:
        """Consume a queue too."""
        answer = await self._channel.basic_consume(queue, self._receive)
        if answer.consumer_tag is not None:
            self._tags.append(answer.consumer_tag)

    async def _receive(self, message: DeliveredMessage) -> None:
        self._waiting.append(_delivery(message))
        self._arrived.set()

    async def _cancelled(self, _: spec.Basic.Cancel) -> None:
        self.fail()

    def fail(self) -> None:
        """What was taken will be offered to others; nothing more comes here."""
        self.failed = True
        self._arrived.set()

    async def take(self, limit: int) -> list[Delivery]:
        while not self._waiting and not self._stopped and not self.failed:
            self._arrived.clear()
            await self._arrived.wait()
        if self._stopped:
            return []
        if self.failed:
            raise Unavailable("RabbitMQ: the consumer is gone")
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Ack each; on a connection that is gone there is nothing to ack, the broker offers them again."""
        if self.failed:
            raise Unavailable("RabbitMQ: the consumer is gone; its deliveries will be offered again")
        with reaching("did not take an ack", self._party):
            for delivery in deliveries:
                await self._channel.basic_ack(delivery.tag, wait=False)

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        with leaving():
            for delivery in deliveries:
                await self._channel.basic_nack(delivery.tag, requeue=True, wait=False)

    async def stop(self) -> None:
        """Cancel the consumers and give back what nobody took."""
        await self.requeue(await self.untaken())

    async def untaken(self) -> list[Delivery]:
        """Cancel the consumers; what had come and nobody took."""
        if not self._stopped:
            self._stopped = True
            self._arrived.set()
            await self._leave()
        left = list(self._waiting)
        self._waiting.clear()
        return left

    async def _leave(self) -> None:
        if self.failed:
            return
        with leaving():
            async with asyncio.timeout(LEAVE_SECONDS):
                for tag in self._tags:
                    await self._channel.basic_cancel(tag)


def _delivery(message: DeliveredMessage) -> Delivery:
    properties = message.header.properties
    headers = properties.headers or {}
    count = headers.get("x-delivery-count", 0)
    return Delivery(
        routing_key=message.routing_key or "",
        body=bytes(message.body),
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        headers=headers,
        redelivered=bool(message.redelivered),
        delivery_count=count if isinstance(count, int) else 0,
        tag=message.delivery_tag,
    )
