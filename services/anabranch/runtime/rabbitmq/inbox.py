"""A consumer on one RabbitMQ channel; deliveries pile up between two takes and become a batch."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from anabranch.runtime.ports import Delivery, Unavailable
from anabranch.runtime.rabbitmq.channel import Channel
from anabranch.runtime.rabbitmq.outages import leaving
from anabranch.runtime.rabbitmq.parties import Party

LEAVE_SECONDS = 5.0


class RabbitInbox:
    """Implements `ports.Inbox`; fails for good when its channel does or the broker cancels it."""

    def __init__(self, channel: Channel, party: Party, lost: Callable[[], None]) -> None:
        self._channel = channel
        self._party = party
        self._lost = lost
        self._waiting: deque[Delivery] = deque()
        self._held: dict[int, None] = {}  # tags that are not acked, in the broker's order
        self._done: set[int] = set()  # tags that are acked, which the broker was not told
        self._arrived = asyncio.Event()
        self._tags: list[str] = []
        self._stopped = False
        self.failed = False
        channel.raw.add_on_cancel_callback(self._cancelled)

    async def subscribe(self, queue: str) -> None:
        """Consume a queue too."""
        self._tags.append(await self._channel.consume(queue, self._receive))

    def _receive(self, delivery: Delivery) -> None:
        self._waiting.append(delivery)
        self._held[delivery.tag] = None
        self._arrived.set()

    def _cancelled(self, _: Any) -> None:
        if not self._stopped:
            self._lost()

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
        """Ack them; on a connection that is gone there is nothing to ack, the broker offers them again."""
        if self.failed:
            raise Unavailable("RabbitMQ: the consumer is gone; its deliveries will be offered again")
        if not self._done:
            asyncio.get_running_loop().call_soon(self.flush)
        self._done.update([delivery.tag for delivery in deliveries])

    def flush(self) -> None:
        """What was acked on a connection that is gone meanwhile is offered again."""
        if self._done:
            tags, self._done = self._done, set()
            with leaving():
                self._ack(tags)
                self._channel.send()

    def _ack(self, tags: set[int]) -> None:
        """The oldest that are held are acked by one frame, up to the first that is not for now; others one by one."""
        oldest = []
        for tag in self._held:
            if tag not in tags:
                break
            oldest.append(tag)
        if oldest:
            self._channel.raw.basic_ack(oldest[-1], multiple=True)
        for tag in tags.difference(oldest):
            self._channel.raw.basic_ack(tag)
        for tag in tags:
            self._held.pop(tag, None)

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        with leaving():
            for delivery in deliveries:
                self._channel.raw.basic_nack(delivery.tag, requeue=True)
                self._held.pop(delivery.tag, None)

    async def stop(self) -> None:
        """Cancel the consumers and give back what nobody took."""
        await self.requeue(await self.untaken())

    async def untaken(self) -> list[Delivery]:
        """Cancel the consumers; what had come and nobody took."""
        self.flush()
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
                    await self._channel.cancel(tag)
