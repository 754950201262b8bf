"""Publishing with confirms: a window of messages is written at once and waited for together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from pika import BasicProperties
from pika.exceptions import ShortStringTooLong, UnsupportedAMQPFieldException

from anabranch.runtime.ports import Outgoing
from anabranch.runtime.rabbitmq.channel import Channel, settle
from anabranch.runtime.rabbitmq.packets import Properties

UNWRITABLE = (ShortStringTooLong, UnsupportedAMQPFieldException)


class Envelope(NamedTuple):
    """A message as it is written; `message` is what it was made of, if anything."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties
    mandatory: bool = False
    message: Outgoing | None = None


@dataclass(slots=True, eq=False)
class Window:
    """Messages whose confirms are awaited together until `due` (of the loop's clock), and what came of them."""

    done: "asyncio.Future[None]"
    due: float
    complete: bool = False
    open: int = 0
    returned: list[Envelope] = field(default_factory=list)
    refused: list[Envelope] = field(default_factory=list)


class Confirms:
    """The publisher of a channel. A returned message is known by its id, so no id of one is in flight twice."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0
        self._open: dict[int, tuple[Window, Envelope]] = {}  # in the order they were published
        self._tags: dict[str, int] = {}
        self._freed: dict[str, asyncio.Event] = {}
        self._alarm: asyncio.TimerHandle | None = None
        channel.on_close.add(self._closed)

    async def begin(self) -> None:
        await self._channel.confirm(self._confirmed, self._came_back)

    @property
    def is_closed(self) -> bool:
        return self._channel.is_closed

    async def publish(self, envelopes: Sequence[Envelope], timeout: float) -> Window:
        """Publish all; what was returned (nobody takes it) and refused (its queue does not).

        Raises TimeoutError when not all are confirmed in time, ValueError for what cannot be written.
        """
        loop = asyncio.get_running_loop()
        window = Window(loop.create_future(), loop.time() + timeout)
        for envelope in envelopes:
            if envelope.mandatory and envelope.properties.message_id in self._tags:
                await self._free(envelope.properties.message_id, window.due)
            self.post(envelope, window)
        window.complete = True
        if window.open:
            if window.open == len(self._open):  # nobody else is about, who could be sent along
                self._channel.send()
            self._set_alarm(window.due)
            await window.done
        return window

    async def _free(self, message_id: str, due: float) -> None:
        async with asyncio.timeout_at(due):
            while message_id in self._tags and not self.is_closed:
                await self._freed.setdefault(message_id, asyncio.Event()).wait()

    def _set_alarm(self, due: float) -> None:
        """One for all that wait: most are confirmed long before, and a timer for each costs more than to write it."""
        if self._alarm is not None and self._alarm.when() <= due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = asyncio.get_running_loop().time()
        waiting = {window for window, _ in self._open.values() if not window.done.done()}
        for window in waiting:
            if window.due <= now:
                _fail(window, TimeoutError("not confirmed in time"))
        if later := [window.due for window in waiting if window.due > now]:
            self._set_alarm(min(later))

    def post(self, envelope: Envelope, window: Window) -> None:
        """Write one message of a window."""
        exchange, key, body, properties, mandatory, _ = envelope
        try:
            self._channel.publish(exchange, key, body, properties, mandatory)
        except UNWRITABLE as error:
            raise ValueError(f"a message cannot be written: {error!r}") from error
        self._tag += 1
        self._open[self._tag] = (window, envelope)
        window.open += 1
        if mandatory:  # no other is ever returned
            self._tags[properties.message_id] = self._tag

    def _confirmed(self, last: int, multiple: bool, refused: bool) -> None:
        tags = list(takewhile(last.__ge__, self._open)) if multiple else (last,)
        for tag in tags:
            window, envelope = self._open.pop(tag)
            window.open -= 1
            if envelope.mandatory:
                self._release(envelope.properties.message_id)
            if refused:
                window.refused.append(envelope)
            if window.complete and not window.open:
                settle(window.done, None)

    def _release(self, message_id: str) -> None:
        self._tags.pop(message_id, None)
        if self._freed and (freed := self._freed.pop(message_id, None)) is not None:
            freed.set()

    def _came_back(self, _: Any, __: Any, properties: BasicProperties, ___: bytes) -> None:
        """It is confirmed too, afterwards."""
        tag = self._tags.get(properties.message_id)
        if tag is not None:
            window, envelope = self._open[tag]
            window.returned.append(envelope)

    def _closed(self, reason: BaseException) -> None:
        for freed in self._freed.values():
            freed.set()
        if self._alarm is not None:
            self._alarm.cancel()
        for window in {window for window, _ in self._open.values()}:
            _fail(window, reason)


def _fail(window: Window, reason: BaseException) -> None:
    settle(window.done, reason)
    if not window.done.cancelled():
        window.done.exception()  # whoever waited no longer is not missed
