"""What the broker sends most is read without pika's objects: deliveries, and what came of a publish.

pika makes a dozen of them for a delivery, asks whoever might want each frame, and moves what it has not read yet at
every one. All other frames are given to it, one by one. What it reads of a delivery is the measure:
`tests/unit/runtime/test_frames.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

from pika.data import decode_table

from anabranch.runtime.ports import Delivery
from anabranch.runtime.rabbitmq.packets import (
    BODY_FRAME,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    END,
    FRAME,
    HEADER_FRAME,
    HEADERS,
    MESSAGE_ID,
    REPLY_TO,
    SIZES,
)

METHOD_FRAME, HEARTBEAT = 1, 8
KINDS = frozenset({METHOD_FRAME, HEADER_FRAME, BODY_FRAME, HEARTBEAT})
DELIVER, ACK, NACK = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
NUMBER = Struct(">QB")  # a delivery tag and a few bits
CONTENT_ENCODING, PRIORITY, EXPIRATION = 1 << 14, 1 << 11, 1 << 8
Received = Callable[[Delivery], None]
Confirmed = Callable[[int, bool, bool], None]
"""What the broker says of a publish: its number, whether of all before it too, whether it was refused."""


@dataclass(slots=True)
class Coming:
    """A delivery of which frames are still to come."""

    delivery: Delivery
    received: Received
    missing: int = 0
    pieces: list[bytes] = field(default_factory=list)


class Frames:
    """What comes over a connection, told to whoever waits for it on its channel."""

    def __init__(self, leave: Callable[[bytes], None]) -> None:
        self._leave = leave
        self._rest = b""
        self._coming: dict[int, Coming] = {}
        self._consumers: dict[int, dict[bytes, Received]] = {}
        self._confirmed: dict[int, Confirmed] = {}

    def tell_deliveries(self, channel: int, tag: str, received: Received) -> None:
        """Whom a consumer's deliveries are for."""
        self._consumers.setdefault(channel, {})[tag.encode()] = received

    def tell_confirms(self, channel: int, confirmed: Confirmed) -> None:
        """Who publishes there."""
        self._confirmed[channel] = confirmed

    def forget(self, channel: int) -> None:
        """It is closed; another may have its number."""
        for known in (self._coming, self._consumers, self._confirmed):
            known.pop(channel, None)

    def feed(self, data: bytes) -> None:
        """Take what came; what is not whole waits for the rest."""
        data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        while end - at >= FRAME.size:
            kind, channel, size = FRAME.unpack_from(data, at)
            after = at + FRAME.size + size + 1
            if kind not in KINDS:  # no frame: pika knows what to say to that
                self._leave(data[at:])
                return
            if after > end:
                break
            if not self._taken(kind, channel, data, at + FRAME.size, after - 1):
                self._leave(data[at:after])
            at = after
        self._rest = data[at:]

    def _taken(self, kind: int, channel: int, data: bytes, at: int, end: int) -> bool:
        if data[end : end + 1] != END:
            return False
        if kind == METHOD_FRAME:
            return self._method(channel, data, at)
        coming = self._coming.get(channel)
        if coming is None:
            return False
        if kind == HEADER_FRAME:
            coming.missing = _header(coming.delivery, data, at)
        elif kind == BODY_FRAME:
            coming.pieces.append(data[at:end])
            coming.missing -= end - at
        if coming.missing <= 0:
            self._come(channel, coming)
        return True

    def _method(self, channel: int, data: bytes, at: int) -> bool:
        what = data[at : at + 4]
        if what == DELIVER:
            self._begin(channel, data, at + 4)
        elif what in (ACK, NACK) and channel in self._confirmed:
            number, bits = NUMBER.unpack_from(data, at + 4)
            self._confirmed[channel](number, bool(bits & 1), what == NACK)
        else:
            return False
        return True

    def _begin(self, channel: int, data: bytes, at: int) -> None:
        """Consumer, number, whether it was delivered before, exchange, key."""
        after = at + 1 + data[at]
        consumer = data[at + 1 : after]
        number, redelivered = NUMBER.unpack_from(data, after)
        at = after + NUMBER.size
        at += 1 + data[at]
        delivery = Delivery(_short(data, at), b"", redelivered=bool(redelivered & 1), tag=number)
        self._coming[channel] = Coming(delivery, self._consumers.get(channel, {}).get(consumer, _nobody))

    def _come(self, channel: int, coming: Coming) -> None:
        del self._coming[channel]
        coming.delivery.body = b"".join(coming.pieces)
        coming.received(coming.delivery)


def _nobody(_: Delivery) -> None:
    """The consumer is gone."""


def _short(data: bytes, at: int) -> str:
    """A short text; what is no UTF-8 is told apart all the same."""
    return data[at + 1 : at + 1 + data[at]].decode(errors="backslashreplace")


def _header(delivery: Delivery, data: bytes, at: int) -> int:
    """What is said beside the body, up to the last that is asked for here, in AMQP's order; the body's size."""
    size, flags = SIZES.unpack_from(data, at)[2:]
    at += SIZES.size
    for flag in (CONTENT_TYPE, CONTENT_ENCODING):
        at += 1 + data[at] if flags & flag else 0
    if flags & HEADERS:
        headers, at = decode_table(data, at)
        delivery.headers = {str(name): value for name, value in headers.items()}
        count = headers.get("x-delivery-count")
        delivery.delivery_count = count if isinstance(count, int) else 0
    at += (flags & DELIVERY_MODE > 0) + (flags & PRIORITY > 0)
    if flags & CORRELATION_ID:
        delivery.correlation_id = _short(data, at)
        at += 1 + data[at]
    if flags & REPLY_TO:
        delivery.reply_to = _short(data, at)
        at += 1 + data[at]
    at += 1 + data[at] if flags & EXPIRATION else 0
    if flags & MESSAGE_ID:
        delivery.message_id = _short(data, at)
    return int(size)
