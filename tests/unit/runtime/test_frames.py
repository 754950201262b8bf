"""What is read of a delivery is what pika reads of it, however it comes in pieces and whatever comes between them."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, frame, spec

from anabranch.runtime.ports import Delivery
from anabranch.runtime.rabbitmq.frames import Frames

HEARTBEAT = frame.Heartbeat().marshal()
short = st.text(max_size=40)
optional = st.none() | short
values = st.one_of(short, st.integers(-(2**31), 2**31 - 1), st.booleans(), st.lists(short, max_size=2))
properties = st.builds(
    BasicProperties,
    content_type=optional,
    content_encoding=optional,
    headers=st.none() | st.dictionaries(short, values, max_size=3),
    delivery_mode=st.none() | st.integers(1, 2),
    priority=st.none() | st.integers(0, 9),
    correlation_id=optional,
    reply_to=optional,
    expiration=optional,
    message_id=optional,
    timestamp=st.none() | st.integers(0, 2**32),
    type=optional,
    user_id=optional,
    app_id=optional,
)
delivers = st.builds(
    spec.Basic.Deliver, st.just("ours"), st.integers(1, 2**63), st.booleans(), st.just("anabranch"), short
)
contents = st.tuples(delivers, properties, st.binary(max_size=60))


class Heard:
    """What was told, in order, and what was left to pika."""

    def __init__(self) -> None:
        self.deliveries: dict[int, list[Delivery]] = {1: [], 2: []}
        self.confirms: list[tuple[int, bool, bool]] = []
        self.left: list[bytes] = []
        self.frames = Frames(self.left.append)
        for channel, found in self.deliveries.items():
            self.frames.tell_deliveries(channel, "ours", found.append)
        self.frames.tell_confirms(1, lambda *said: self.confirms.append(said))

    def feed(self, data: bytes, cuts: list[int]) -> None:
        for a, b in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
            self.frames.feed(data[a:b])


def marshalled(channel: int, content: tuple[Any, BasicProperties, bytes], most: int = 25) -> list[bytes]:
    deliver, said, body = content
    frames = [frame.Method(channel, deliver), frame.Header(channel, len(body), said)]
    frames += [frame.Body(channel, body[start : start + most]) for start in range(0, len(body), most)]
    return [one.marshal() for one in frames]


def as_pika_reads(content: tuple[Any, BasicProperties, bytes]) -> Delivery:
    deliver, said, body = content
    header = frame.decode_frame(frame.Header(1, len(body), said).marshal())[1].properties
    return Delivery(
        deliver.routing_key,
        body,
        header.message_id,
        header.correlation_id,
        header.reply_to,
        header.headers or {},
        redelivered=deliver.redelivered,
        tag=deliver.delivery_tag,
    )


@given(st.lists(contents, max_size=4), st.lists(st.integers(0, 800), max_size=5))
def test_a_delivery_is_what_pika_reads_however_it_is_cut(sent: list[Any], cuts: list[int]) -> None:
    heard = Heard()
    heard.feed(b"".join(b"".join([HEARTBEAT, *marshalled(1, one)]) for one in sent), cuts)
    assert heard.deliveries[1] == [as_pika_reads(one) for one in sent]
    assert heard.left == [HEARTBEAT] * len(sent)


@given(contents, contents, st.randoms(use_true_random=False))
def test_channels_come_between_each_other(one: Any, other: Any, chance: Any) -> None:
    lines, mixed = [marshalled(1, one), marshalled(2, other)], []
    while any(lines):
        mixed.append(chance.choice([line for line in lines if line]).pop(0))
    heard = Heard()
    heard.frames.feed(b"".join(mixed))
    assert heard.deliveries == {1: [as_pika_reads(one)], 2: [as_pika_reads(other)]}


def test_lost_workers_are_counted() -> None:
    said = BasicProperties(headers={"x-delivery-count": 3})
    heard = Heard()
    for content in ((spec.Basic.Deliver("ours", n, True, "", "k"), said, b"") for n in (1, 2)):
        heard.frames.feed(b"".join(marshalled(1, content)))
        said = BasicProperties(headers={"x-delivery-count": "many"})
    assert [(d.delivery_count, d.redelivered) for d in heard.deliveries[1]] == [(3, True), (0, True)]


def test_what_is_no_text_is_told_apart() -> None:
    heard = Heard()
    for odd in (b"\xff", b"\xfe"):
        content = (spec.Basic.Deliver("ours", 1, False, "", "k"), BasicProperties(message_id="?"), b"")
        heard.frames.feed(b"".join(marshalled(1, content)).replace(b"?", odd))
    assert [d.message_id for d in heard.deliveries[1]] == ["\\xff", "\\xfe"]


def test_confirms_are_told_and_others_left_to_pika() -> None:
    heard = Heard()
    ack, nack = spec.Basic.Ack(7, multiple=True), spec.Basic.Nack(8, multiple=False)
    opened = frame.Method(1, spec.Queue.PurgeOk(3)).marshal()
    stranger = frame.Method(2, ack).marshal()  # nobody publishes there
    returned = [frame.Method(1, spec.Basic.Return(312, "", "e", "k")).marshal(), *marshalled(1, NOTHING)[1:]]
    data = [frame.Method(1, ack).marshal(), opened, stranger, *returned, frame.Method(1, nack).marshal()]
    heard.frames.feed(b"".join(data))
    assert heard.confirms == [(7, True, False), (8, False, True)]
    assert heard.left == [opened, stranger, *returned]


NOTHING = (spec.Basic.Deliver("ours", 1, False, "", "k"), BasicProperties(), b"a body")


def test_what_is_for_nobody_is_dropped_and_what_follows_is_not() -> None:
    heard = Heard()
    stranger = (spec.Basic.Deliver("theirs", 1, False, "", "k"), BasicProperties(), b"x")
    heard.frames.feed(b"".join([*marshalled(1, stranger), *marshalled(1, NOTHING)]))
    assert [d.body for d in heard.deliveries[1]] == [b"a body"] and heard.left == []


def test_a_channel_that_is_closed_leaves_nothing_to_one_of_its_number() -> None:
    heard, (method, header, body) = Heard(), marshalled(1, NOTHING)
    heard.frames.feed(method)
    heard.frames.forget(1)
    heard.frames.feed(header + frame.Method(1, spec.Basic.Ack(1)).marshal())
    assert heard.left == [header, frame.Method(1, spec.Basic.Ack(1)).marshal()]
    heard.frames.feed(method + header + body)
    assert heard.deliveries[1] == []


@pytest.mark.parametrize("odd", [b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n"])
def test_what_is_no_frame_is_for_pika(odd: bytes) -> None:
    heard = Heard()
    heard.frames.feed(HEARTBEAT + odd)
    assert heard.left == [HEARTBEAT, odd]


def test_a_frame_without_its_end_is_for_pika() -> None:
    heard, (method, *_) = Heard(), marshalled(1, NOTHING)
    broken = method[:-1] + b"\x00"
    heard.frames.feed(broken)
    assert heard.left == [broken]
