"""Traps of the client and the broker: each must end in `Unavailable`, never in a service that only looks alive."""

import asyncio
from uuid import uuid4

import pytest
from pika import frame, spec

from anabranch.runtime.ports import Delivery, Outgoing, Unavailable
from anabranch.runtime.rabbitmq import connection
from anabranch.runtime.rabbitmq.confirms import Envelope
from anabranch.runtime.rabbitmq.connection import PACKET_BYTES
from anabranch.runtime.rabbitmq.packets import Properties
from anabranch.runtime.rabbitmq.parties import WORKER
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import EXCHANGE, PARKED_KEYS, PARKED_QUEUE, ROUTER_QUEUE, step_key, step_queue
from tests.link import linked


def message() -> Outgoing:
    return Outgoing("run.requested", b"{}", uuid4(), "T")


async def test_a_deleted_queue_does_not_leave_a_consumer_that_only_looks_alive(amqp_url: str) -> None:
    transport, other = RabbitTransport(amqp_url), RabbitTransport(amqp_url)
    await transport.connect()
    await other.connect()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    await other._raw().queue_delete(ROUTER_QUEUE)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(10):
            await inbox.take(1)
    assert not transport.healthy()
    await transport.close()
    await other.close()


async def test_a_black_hole_ends_a_publish_with_an_unknown_outcome(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url, publish_timeout=1.0)
        await transport.connect()
        link.hold()
        with pytest.raises(Unavailable):
            await transport.publish([message() for _ in range(10)])
        assert not transport.healthy()
        link.release()
        await transport.close()


async def test_a_reset_connection_is_noticed_by_who_waits(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url)
        await transport.connect()
        inbox = await transport.consume([ROUTER_QUEUE], 10)
        await transport.publish([message()])
        taken = await inbox.take(1)
        link.cut(reset=True)
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await inbox.take(1)
        with pytest.raises(Unavailable):
            await inbox.ack(taken)
        with pytest.raises(Unavailable):
            await transport.publish([message()])
        await transport.close()


async def test_cancelling_a_publish_is_a_cancellation_and_no_outage(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url)
        await transport.connect()
        link.hold()
        publishing = asyncio.create_task(transport.publish([message()]))
        await asyncio.sleep(0.05)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        link.release()
        await transport.close()


async def test_closing_while_deliveries_are_unacked_offers_them_again(amqp_url: str) -> None:
    first, second = RabbitTransport(amqp_url), RabbitTransport(amqp_url)
    await first.connect()
    await second.connect()
    inbox = await first.consume([ROUTER_QUEUE], 100)
    await second.publish([message() for _ in range(50)])
    async with asyncio.timeout(10):
        taken = await inbox.take(50)
        acking = asyncio.create_task(inbox.ack(taken[:10]))
        await acking
        await first.close()
        other, count = await second.consume([ROUTER_QUEUE], 100), 0
        while count < 50 - 10:
            count += len(await other.take(100))
    await second.close()


async def test_what_comes_while_a_consumer_leaves_is_received_and_counted_by_nobody(amqp_url: str) -> None:
    first, second = RabbitTransport(amqp_url), RabbitTransport(amqp_url)
    await first.connect()
    await second.connect()
    await second.publish([message() for _ in range(1000)])
    inbox = await first.consume([ROUTER_QUEUE], 1000)
    came = [*await inbox.take(1), *await inbox.untaken()]
    await inbox.ack(came)
    left = await second.consume([ROUTER_QUEUE], 1000)
    async with asyncio.timeout(20):
        rest = 1000 - len(came)
        while rest:
            taken = await left.take(1000)
            assert not any(delivery.redelivered for delivery in taken)
            rest -= len(taken)
    await first.close()
    await second.close()


async def test_acks_of_some_leave_the_others_where_they_are(amqp_url: str) -> None:
    """The oldest are acked by one frame: one that is held in between must not go with them."""
    first, second = RabbitTransport(amqp_url), RabbitTransport(amqp_url)
    await first.connect()
    await second.connect()
    inbox = await first.consume([ROUTER_QUEUE], 100)
    await second.publish([Outgoing("run.requested", str(n).encode(), uuid4(), "T") for n in range(10)])
    taken: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(taken) < 10:
            taken += await inbox.take(10)
        await inbox.ack([taken[n] for n in (0, 1, 3, 7)])
        await inbox.ack([taken[n] for n in (9, 2, 4)])
        await first.close()
        again = await second.consume([ROUTER_QUEUE], 100)
        left: list[Delivery] = []
        while len(left) < 3:
            left += await again.take(10)
    assert {delivery.body for delivery in left} == {b"5", b"6", b"8"}
    await second.close()


async def test_nobody_there_is_said_in_one_line() -> None:
    transport = RabbitTransport("amqp://guest:guest@127.0.0.1:1/")
    with pytest.raises(Unavailable, match="RabbitMQ cannot be reached"):
        await transport.connect()


async def test_a_reply_queue_that_refuses_keeps_nobody_from_going_on(amqp_url: str) -> None:
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    await transport._raw().queue_declare("full", arguments=full, exclusive=True)
    reply = Outgoing("run.completed", b"{}", uuid4(), "RunCompleted", reply_to_queue="full", mandatory=False)
    await transport.publish([reply, message()])
    assert transport.healthy()
    await transport.close()


async def test_headers_that_fill_a_frame_are_parked_without_them(amqp_url: str) -> None:
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    headers = {"traceparent": "x" * 130_000, "small": "kept", "table": {"a": 1}}
    await transport.park(Delivery("run.cancel", b"{}", str(uuid4()), headers=headers), "reason " * 1000)
    (parked,) = await (await transport.consume([PARKED_QUEUE], 1)).take(1)
    assert parked.headers.keys() == {"small", "reason", "routing-key", "parked-at"} and transport.healthy()
    await transport.close()


async def test_what_an_older_release_declared_takes_what_is_set_aside(amqp_url: str) -> None:
    """Its queue for parked messages had no binding; another queue may have other arguments than ours."""
    first = RabbitTransport(amqp_url, "classic")
    await first.connect()
    await first._raw().queue_unbind(PARKED_QUEUE, EXCHANGE, *PARKED_KEYS)
    second = RabbitTransport(amqp_url, "quorum", party=WORKER)
    await second.connect()
    await second.park(Delivery("step.requested.A", b"{}"), "a reason")
    async with asyncio.timeout(10):
        (parked,) = await (await second.consume([PARKED_QUEUE], 10)).take(1)
    assert parked.routing_key == "parked.worker" and parked.headers["reason"] == "a reason"
    await first.close()
    await second.close()


async def test_a_step_queue_with_other_arguments_is_used_as_it_is(amqp_url: str) -> None:
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    await transport._raw().queue_declare(step_queue("Odd"), durable=True, arguments={"x-max-priority": 3})
    await transport.publish([Outgoing(step_key("Odd"), b"{}", uuid4(), "StepRequested")])
    async with asyncio.timeout(10):
        assert await (await transport.consume([step_queue("Odd")], 10)).take(1)
    await transport.close()


def noted(monkeypatch: pytest.MonkeyPatch, sent: list[int]) -> None:
    """Have the sizes of what is sent noted."""
    send = connection._sent
    monkeypatch.setattr(connection, "_sent", lambda stream, data: (sent.append(len(data)), send(stream, data))[1])


async def test_what_is_published_together_is_sent_together(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, sent = RabbitTransport(amqp_url), list[int]()
    await transport.connect()
    noted(monkeypatch, sent)
    await transport.publish([message() for _ in range(100)])
    assert len(sent) == 1
    await transport.publish([message()._replace(body=bytes(100_000)) for _ in range(10)])
    assert max(sent) < 3 * PACKET_BYTES  # what is large is not copied once more
    await transport.close()


async def test_acks_of_a_turn_are_one_frame_which_leaves_when_it_is_told(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, sent = RabbitTransport(amqp_url), list[int]()
    await transport.connect()
    inbox = await transport.consume([ROUTER_QUEUE], 100)
    await transport.publish([message() for _ in range(6)])
    taken: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(taken) < 6:
            taken += await inbox.take(6)
    ack = len(frame.Method(1, spec.Basic.Ack(1)).marshal())
    noted(monkeypatch, sent)
    for one in taken[:3]:
        await inbox.ack([one])
    assert not sent
    inbox.flush()
    assert sent == [ack]
    await inbox.ack(taken[3:])
    await asyncio.sleep(0)
    assert sent == [ack] * 2, "and at the end of the turn where nobody says so"
    await transport.close()


async def test_each_publish_has_its_own_time(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url, publish_timeout=60)
        await transport.connect()
        link.hold()
        patient = asyncio.create_task(transport.publish([message()]))
        await asyncio.sleep(0)
        confirms = transport._confirms()
        for seconds in (0.1, 0.2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(20):
                    await confirms.publish([Envelope("", "nobody", b"", Properties(str(uuid4())))], seconds)
        assert not patient.done()
        link.release()
        await patient
        await transport.close()
