"""What a publish may come to: in doubt it says so, at once or in time; what is confirmed is there."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from pika.exceptions import AMQPHeartbeatTimeout

from anabranch.runtime.ports import Delivery, Inbox, Outgoing, Unavailable
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import ROUTER_QUEUE, step_key, step_queue
from tests.link import Link, linked


def message(key: str = "run.requested", body: bytes = b"{}") -> Outgoing:
    return Outgoing(key, body, uuid4(), "T")


async def take(inbox: Inbox, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await inbox.take(count - len(found))
    return found


async def test_during_an_outage_a_publish_fails_at_once_and_nothing_is_kept_for_later(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport, other = RabbitTransport(link.url), RabbitTransport(amqp_url)
        await transport.connect()
        await other.connect()
        link.refusing = True
        link.cut()
        for _ in range(3):
            with pytest.raises(Unavailable):
                async with asyncio.timeout(2):
                    await transport.publish([message()])
        link.mend()
        await other.publish([message(body=b'"after"')])
        (delivery,) = await take(await other.consume([ROUTER_QUEUE], 10), 1)
        assert delivery.body == b'"after"'
        await transport.close()
        await other.close()


async def test_what_nobody_takes_is_said_and_not_lost(amqp_url: str) -> None:
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    with pytest.raises(Unavailable, match=r"no queue is bound for nobody\.there"):
        await transport.publish([message("nobody.there")])
    assert transport.healthy()
    await transport.close()


@pytest.mark.parametrize("order", [1, -1], ids=["returned first", "returned last"])
async def test_the_same_id_twice_in_flight_confirms_neither_for_the_other(amqp_url: str, order: int) -> None:
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    for number in range(5):
        agent = f"Nobody{number}"
        returned = message(step_key(agent))
        both = [returned, returned._replace(routing_key="run.requested")][::order]
        await transport.publish(both)
        await take(await transport.consume([step_queue(agent)], 1), 1)
    assert len(await take(await transport.consume([ROUTER_QUEUE], 50), 5)) == 5
    await transport.close()


async def test_a_publish_that_heartbeats_cut_off_is_an_unknown_outcome_and_no_cancellation(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url, heartbeat=1, publish_timeout=60)
        await transport.connect()
        link.hold()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(30):
                await transport.publish([message()])
        task = asyncio.current_task()
        assert task is not None and not task.cancelling()
        assert not transport.healthy()


WAITS: dict[str, Callable[[RabbitTransport], Awaitable[object]]] = {
    "publish": lambda transport: transport.publish([message()]),
    "park": lambda transport: transport.park(Delivery("run.cancel", b"{}"), "a reason"),
    "probe": RabbitTransport.probe,
    "depth": lambda transport: transport.depth(ROUTER_QUEUE),
    "declare steps": lambda transport: transport.declare_steps(["New"]),
    "consume": lambda transport: transport.consume([ROUTER_QUEUE], 1),
}
ENDS = ["without a word", "by a reset", "by heartbeats"]


def end(transport: RabbitTransport, link: Link, how: str) -> None:
    """The stream ends between two frames, or nothing came for two heartbeats."""
    if how == "by heartbeats":
        assert transport._connection is not None
        transport._connection._raw._terminate_stream(AMQPHeartbeatTimeout("no activity"))
    else:
        link.cut(reset=how == "by a reset")


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("wait", WAITS)
async def test_whoever_waits_while_the_connection_ends_is_told_of_an_outage(amqp_url: str, wait: str, how: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url, publish_timeout=60)
        await transport.connect()
        link.hold()
        waiting = asyncio.ensure_future(WAITS[wait](transport))
        await asyncio.sleep(0.05)
        end(transport, link, how)
        with pytest.raises(Unavailable, match="RabbitMQ"):
            await waiting
        link.release()
        await transport.close()


@pytest.mark.parametrize("how", ENDS)
async def test_who_leaves_a_connection_that_ends_just_leaves(amqp_url: str, how: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url)
        await transport.connect()
        await transport.consume([ROUTER_QUEUE], 1)
        link.hold()
        leaving = asyncio.create_task(transport.close())
        await asyncio.sleep(0.05)
        end(transport, link, how)
        async with asyncio.timeout(2):
            await leaving
        link.release()
        assert not transport.healthy()


async def test_closing_while_handlers_ack_ends_nobody_else_and_offers_the_rest_again(amqp_url: str) -> None:
    first, second = RabbitTransport(amqp_url), RabbitTransport(amqp_url)
    await first.connect()
    await second.connect()
    inbox = await first.consume([ROUTER_QUEUE], 500)
    await second.publish([message() for _ in range(200)])
    taken = await take(inbox, 200)
    acked = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal acked
        await asyncio.sleep(0)
        await inbox.ack([delivery])
        acked += 1

    handlers = [asyncio.create_task(handle(delivery)) for delivery in taken]
    await asyncio.sleep(0)
    await first.close()
    outcomes = await asyncio.gather(*handlers, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, Unavailable) for outcome in outcomes)
    left = await take(await second.consume([ROUTER_QUEUE], 500), 200 - acked) if acked < 200 else []
    assert len(left) == 200 - acked and second.healthy()
    await second.close()


async def test_an_ack_from_before_a_reconnect_harms_neither_the_new_connection_nor_the_delivery(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        old, new = RabbitTransport(link.url), RabbitTransport(link.url)
        await old.connect()
        inbox = await old.consume([ROUTER_QUEUE], 10)
        await old.publish([message()])
        taken = await take(inbox, 1)
        link.cut()
        await new.connect()
        again = await new.consume([ROUTER_QUEUE], 10)
        (delivery,) = await take(again, 1)
        with pytest.raises(Unavailable):
            await inbox.ack(taken)
        assert delivery.redelivered and new.healthy()
        await again.ack([delivery])
        await new.publish([message()])
        await old.close()
        await new.close()


async def test_a_probe_says_whether_a_publish_would_be_confirmed(amqp_url: str) -> None:
    async with linked(amqp_url) as link:
        transport = RabbitTransport(link.url, publish_timeout=1)
        await transport.connect()
        await transport.probe()
        link.hold("down")
        with pytest.raises(Unavailable):
            await transport.probe()
        link.release()
        await transport.probe()
        transport.lose()
        with pytest.raises(Unavailable):
            await transport.probe()
        await transport.close()
