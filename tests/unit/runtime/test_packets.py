"""What is written for a message is, byte for byte, what pika writes for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, frame, spec

from anabranch.runtime.rabbitmq.packets import Properties, packet

short = st.text(max_size=60)
headers = st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=50), st.integers(-(2**31), 2**31 - 1)))
properties = st.builds(
    Properties, short, st.none() | short, st.none() | short, st.none() | headers, st.none() | short, st.booleans()
)


def as_pika_does(exchange: str, key: str, body: bytes, said: Properties, mandatory: bool, most: int) -> bytes:
    kept: dict[str, Any] = {"content_type": "application/json", "delivery_mode": 2} if said.kept else {}
    made = BasicProperties(
        message_id=said.message_id,
        type=said.type,
        correlation_id=said.correlation_id,
        headers=said.headers or None,
        reply_to=said.reply_to,
        **kept,
    )
    publish = spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
    frames = [frame.Method(3, publish), frame.Header(3, len(body), made)]
    frames += [frame.Body(3, body[start : start + most]) for start in range(0, len(body), most)]
    return b"".join(one.marshal() for one in frames)


@given(short, short, st.binary(max_size=100), properties, st.booleans(), st.integers(1, 40))
def test_a_packet_is_what_pika_makes_of_it(
    exchange: str, key: str, body: bytes, said: Properties, mandatory: bool, most: int
) -> None:
    expected = as_pika_does(exchange, key, body, said, mandatory, most)
    assert packet(3, exchange, key, body, said, mandatory, most) == expected


@pytest.mark.parametrize("place", range(4))
def test_what_is_too_long_for_amqp_is_no_message(place: int) -> None:
    names = ["short"] * 4
    names[place] = "ü" * 128
    exchange, key, message_id, kind = names
    with pytest.raises(ValueError, match="cannot be written"):
        packet(1, exchange, key, b"", Properties(message_id, kind), False, 100)
