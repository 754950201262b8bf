"""A channel: questions with one answer each, and what the broker says by itself."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from pika import spec
from pika.exceptions import AMQPChannelError, ChannelClosedByBroker, ChannelWrongStateError

from anabranch.runtime.rabbitmq.frames import Confirmed, Received
from anabranch.runtime.rabbitmq.packets import Properties, packet


class AccessRefused(AMQPChannelError):
    """The user has not the right."""


class NotFound(AMQPChannelError):
    """There is no such queue or exchange."""


REFUSALS: dict[int, type[AMQPChannelError]] = {403: AccessRefused, 404: NotFound}


def settle(future: "asyncio.Future[Any]", outcome: Any) -> None:
    """Give the outcome, or raise it where it is an error, to whoever still waits."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Channel:
    """A channel of a connection; whoever waits for an answer when it ends is told why."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.on_close: set[Callable[[BaseException], None]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._consumers = count(1)
        raw.add_on_close_callback(self._closed)

    @property
    def is_closed(self) -> bool:
        return not self.raw.is_open

    def _closed(self, _: object, reason: BaseException) -> None:
        if isinstance(reason, ChannelClosedByBroker) and reason.reply_code in REFUSALS:
            reason = REFUSALS[reason.reply_code](reason.reply_text)
        self.raw.connection.frames.forget(self.raw.channel_number)
        for answer in list(self._waiting):
            settle(answer, reason)
        for tell in list(self.on_close):
            tell(reason)

    def send(self) -> None:
        """What was written leaves now: whatever is begun next may be the last that this process does."""
        self.raw.connection.send_together()

    async def unless_closed(self, answer: "asyncio.Future[Any]") -> Any:
        """The answer; raises what the channel was closed for instead."""
        self._waiting.add(answer)
        try:
            return await answer
        finally:
            self._waiting.discard(answer)

    async def _ask(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        method(*args, callback=partial(settle, answer), **named)
        return (await self.unless_closed(answer)).method

    async def exchange_declare(self, name: str, **named: Any) -> None:
        await self._ask(self.raw.exchange_declare, name, **named)

    async def exchange_delete(self, name: str) -> None:
        await self._ask(self.raw.exchange_delete, name)

    async def queue_declare(self, name: str, **named: Any) -> spec.Queue.DeclareOk:
        """The queue's name, messages and consumers."""
        answer: spec.Queue.DeclareOk = await self._ask(self.raw.queue_declare, name, **named)
        return answer

    async def queue_bind(self, queue: str, exchange: str, key: str) -> None:
        await self._ask(self.raw.queue_bind, queue, exchange, key)

    async def queue_unbind(self, queue: str, exchange: str, key: str) -> None:
        await self._ask(self.raw.queue_unbind, queue, exchange, key)

    async def queue_purge(self, queue: str) -> int:
        """How many messages were removed."""
        return int((await self._ask(self.raw.queue_purge, queue)).message_count or 0)

    async def queue_delete(self, queue: str) -> None:
        await self._ask(self.raw.queue_delete, queue)

    async def qos(self, prefetch: int) -> None:
        """How many deliveries may be unacked."""
        await self._ask(self.raw.basic_qos, prefetch_count=prefetch)

    async def consume(self, queue: str, received: Received) -> str:
        """Have deliveries of the queue come to `received`; the consumer's tag."""
        tag = f"anabranch.{next(self._consumers)}"
        self.raw.connection.frames.tell_deliveries(self.raw.channel_number, tag, received)
        await self._ask(self.raw.basic_consume, queue, _of_frames, consumer_tag=tag)
        return tag

    async def cancel(self, tag: str) -> None:
        """End a consumer; what comes before the broker's answer is received like all before.

        Not by `basic_cancel`, which would reject what comes, and a quorum queue counts that as a consumer lost.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        replies = [(spec.Basic.CancelOk, {"consumer_tag": tag})]
        self.raw._rpc(spec.Basic.Cancel(consumer_tag=tag), partial(settle, answer), replies)
        await self.unless_closed(answer)

    def publish(self, exchange: str, key: str, body: bytes, properties: Properties, mandatory: bool) -> None:
        """Write a message; raises `ChannelWrongStateError` on a channel that is closed."""
        if not self.raw.is_open:
            raise ChannelWrongStateError("the channel is closed")
        wire = self.raw.connection
        most = wire._body_max_length
        frames = packet(self.raw.channel_number, exchange, key, body, properties, mandatory, most)
        wire._output_marshaled_frames([frames])

    async def confirm(self, confirmed: Confirmed, returned: Callable[..., None]) -> None:
        """Have the broker say what came of each publish."""
        self.raw.add_on_return_callback(returned)
        self.raw.connection.frames.tell_confirms(self.raw.channel_number, confirmed)
        await self._ask(self.raw.confirm_delivery, _of_frames)


def _of_frames(*_: Any) -> None:
    """pika asks for somebody to tell; `Frames` has told already."""
