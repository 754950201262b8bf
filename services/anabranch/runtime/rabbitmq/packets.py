"""A message as it is written: AMQP's frames in one piece, made at once.

pika makes them of objects of its own, which cost more than all else about publishing. What it makes is the measure:
`tests/unit/runtime/test_packets.py`.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

from pika.data import encode_table
from pika.frame import Method
from pika.spec import Basic

BASIC = 60
END = b"\xce"
FRAME, SIZES, LENGTHS = Struct(">BHI"), Struct(">HHQH"), Struct(">B").pack
HEADER_FRAME, BODY_FRAME = 2, 3
CONTENT_TYPE, HEADERS, DELIVERY_MODE, CORRELATION_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 10
REPLY_TO, MESSAGE_ID, TYPE = 1 << 9, 1 << 7, 1 << 5
JSON = b"\x10application/json"
PERSISTENT = b"\x02"
LONGEST = 255


class Properties(NamedTuple):
    """What is said beside a body; `kept` = the broker has it on its disk, and it is JSON."""

    message_id: str
    type: str | None = None
    correlation_id: str | None = None
    headers: Mapping[str, Any] | None = None
    reply_to: str | None = None
    kept: bool = False


def packet(
    channel: int, exchange: str, key: str, body: bytes, properties: Properties, mandatory: bool, most: int
) -> bytes:
    """The frames of a publish, no body frame longer than `most`; raises ValueError for what cannot be written."""
    said = _said(properties, len(body))
    parts = [_method(channel, exchange, key, mandatory), FRAME.pack(HEADER_FRAME, channel, len(said)), said, END]
    for start in range(0, len(body), most):
        piece = body[start : start + most]
        parts += (FRAME.pack(BODY_FRAME, channel, len(piece)), piece, END)
    return b"".join(parts)


@lru_cache(4096)
def _method(channel: int, exchange: str, key: str, mandatory: bool) -> bytes:
    for name in (exchange, key):
        _short(name)
    frame: bytes = Method(channel, Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)).marshal()
    return frame


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > LONGEST:
        raise ValueError(f"a message cannot be written: {text[:100]!r}... has more than {LONGEST} bytes")
    return LENGTHS(len(data)) + data


def _said(p: Properties, size: int) -> bytes:
    """The header's payload; the fields in AMQP's order."""
    flags, parts = MESSAGE_ID, [b""]
    if p.kept:
        flags |= CONTENT_TYPE | DELIVERY_MODE
        parts.append(JSON)
    if p.headers:
        flags |= HEADERS
        encode_table(parts, dict(p.headers))
    if p.kept:
        parts.append(PERSISTENT)
    for flag, text in ((CORRELATION_ID, p.correlation_id), (REPLY_TO, p.reply_to), (0, p.message_id), (TYPE, p.type)):
        if text is not None:
            flags |= flag
            parts.append(_short(text))
    parts[0] = SIZES.pack(BASIC, 0, size, flags)
    return b"".join(parts)
