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
    """Messages whose confirms are awaited together, and what came of them."""

    done: "asyncio.Future[None]"
    complete: bool = False
    open: dict[int, Envelope] = field(default_factory=dict)
    returned: list[Envelope] = field(default_factory=list)
    refused: list[Envelope] = field(default_factory=list)


class Confirms:
    """The publisher of a channel. A returned message is known by its id, so no id is in flight twice."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0
        self._windows: dict[int, Window] = {}
        self._tags: dict[str, int] = {}
        self._freed: dict[str, asyncio.Event] = {}
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
        window = Window(asyncio.get_running_loop().create_future())
        async with asyncio.timeout(timeout):
            for envelope in envelopes:
                if envelope.properties.message_id in self._tags:
                    await self._free(envelope.properties.message_id)
                self.post(envelope, window)
            window.complete = True
            if window.open:
                await window.done
        return window

    async def _free(self, message_id: str) -> None:
        while message_id in self._tags and not self.is_closed:
            await self._freed.setdefault(message_id, asyncio.Event()).wait()

    def post(self, envelope: Envelope, window: Window) -> None:
        """Write one message of a window."""
        try:
            self._channel.publish(
                envelope.exchange, envelope.routing_key, envelope.body, envelope.properties, envelope.mandatory
            )
        except UNWRITABLE as error:
            raise ValueError(f"a message cannot be written: {error!r}") from error
        self._tag += 1
        self._windows[self._tag] = window
        window.open[self._tag] = envelope
        self._tags[envelope.properties.message_id] = self._tag

    def _confirmed(self, last: int, multiple: bool, refused: bool) -> None:
        if not multiple:
            self._settled(last, refused)
            return
        for tag in list(takewhile(last.__ge__, self._windows)):  # in the order they were published
            self._settled(tag, refused)

    def _settled(self, tag: int, refused: bool) -> None:
        window = self._windows.pop(tag)
        envelope = window.open.pop(tag)
        self._release(envelope.properties.message_id)
        if refused:
            window.refused.append(envelope)
        if window.complete and not window.open:
            settle(window.done, None)

    def _release(self, message_id: str) -> None:
        self._tags.pop(message_id, None)
        if (freed := self._freed.pop(message_id, None)) is not None:
            freed.set()

    def _came_back(self, _: Any, __: Any, properties: BasicProperties, ___: bytes) -> None:
        """It is confirmed too, afterwards."""
        tag = self._tags.get(properties.message_id)
        if tag is not None:
            window = self._windows[tag]
            window.returned.append(window.open[tag])

    def _closed(self, reason: BaseException) -> None:
        for freed in self._freed.values():
            freed.set()
        for window in set(self._windows.values()):
            settle(window.done, reason)
            if not window.done.cancelled():
                window.done.exception()  # whoever waited no longer is not missed
