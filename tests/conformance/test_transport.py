"""What every transport must do; memory and RabbitMQ pass the same tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest

from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Delivery, Depth, Inbox, Outgoing, Transport, Unavailable
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE, step_key, step_queue

Connect = Callable[[], Awaitable[Transport]]
SECONDS = 20


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("amqp_url") if request.param == "rabbitmq" else ""
    return url


@pytest.fixture
async def connect(broker_url: str) -> AsyncIterator[Connect]:
    """Connects as many parties as a test wants, to one broker."""
    broker, made, url = MemoryBroker(), [], broker_url

    async def connected() -> Transport:
        transport: Transport = RabbitTransport(url) if url else MemoryTransport(broker)
        await transport.connect()
        made.append(transport)
        return transport

    yield connected
    for transport in made:
        await transport.close()


def message(key: str, body: bytes = b"{}", **more: object) -> Outgoing:
    return Outgoing(key, body, uuid4(), "T", **more)  # type: ignore[arg-type]


async def take(inbox: Inbox, count: int) -> list[Delivery]:
    """Exactly so many deliveries."""
    found: list[Delivery] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            found += await inbox.take(count - len(found))
    return found


async def test_messages_reach_the_service_they_are_for(connect: Connect) -> None:
    transport = await connect()
    routed, tended = await transport.consume([ROUTER_QUEUE], 10), await transport.consume([SUPERVISOR_QUEUE], 10)
    await transport.publish([message("run.requested"), message("step.failed"), message("run.cancel")])
    assert [d.routing_key for d in await take(routed, 1)] == ["run.requested"]
    assert {d.routing_key for d in await take(tended, 2)} == {"step.failed", "run.cancel"}


async def test_properties_travel(connect: Connect) -> None:
    transport = await connect()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    sent = message("run.requested", b'{"a": 1}', correlation_id="c", reply_to="r", headers={"traceparent": "00-1"})
    await transport.publish([sent])
    (got,) = await take(inbox, 1)
    assert (got.body, got.message_id, got.correlation_id, got.reply_to) == (b'{"a": 1}', str(sent.message_id), "c", "r")
    assert got.headers["traceparent"] == "00-1" and not got.redelivered


@pytest.mark.parametrize("agent", ["New.Agent", "R&D team", "Ärzte", "研究 ~ 100%"])
async def test_a_step_for_an_agent_that_nobody_serves_waits_for_it(connect: Connect, agent: str) -> None:
    transport = await connect()
    await transport.publish([message(step_key(agent)), message("run.requested")])
    inbox = await transport.consume([step_queue(agent)], 10)
    assert len(await take(inbox, 1)) == 1


async def test_news_that_nobody_listens_to_is_no_error(connect: Connect) -> None:
    transport = await connect()
    await transport.publish([message("branch.converged", mandatory=False), message("run.completed", mandatory=False)])
    await transport.publish([message("run.completed", reply_to_queue="gone", mandatory=False)])


async def test_replies_reach_the_queue_of_who_asked(connect: Connect) -> None:
    asking, answering = await connect(), await connect()
    queue = await asking.declare_reply_queue()
    inbox = await asking.consume([queue], 10)
    await answering.publish([message("run.completed", b'"r"', reply_to_queue=queue, mandatory=False)])
    assert (await take(inbox, 1))[0].body == b'"r"'


async def test_what_is_acked_is_gone_and_what_is_not_is_offered_again(connect: Connect) -> None:
    first, second, sender = await connect(), await connect(), await connect()
    inbox = await first.consume([ROUTER_QUEUE], 10)
    await sender.publish([message("run.requested", b"1"), message("run.requested", b"2")])
    one, two = await take(inbox, 2)
    await inbox.ack([one])
    await first.close()
    (again,) = await take(await second.consume([ROUTER_QUEUE], 10), 1)
    assert again.body == two.body and again.redelivered and again.delivery_count == 1


async def test_requeued_messages_are_offered_at_once(connect: Connect) -> None:
    transport = await connect()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    await transport.publish([message("run.requested", b"1")])
    await inbox.requeue(await take(inbox, 1))
    (again,) = await take(inbox, 1)
    assert again.redelivered


async def test_prefetch_bounds_what_is_taken_unacked(connect: Connect) -> None:
    transport = await connect()
    inbox = await transport.consume([ROUTER_QUEUE], 3)
    await transport.publish([message("run.requested", str(i).encode()) for i in range(5)])
    held = await take(inbox, 3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await inbox.take(1)
    await inbox.ack(held)
    assert len(await take(inbox, 2)) == 2


async def test_what_piled_up_is_one_batch(connect: Connect) -> None:
    transport = await connect()
    inbox = await transport.consume([ROUTER_QUEUE], 500)
    await transport.publish([message("run.requested", str(i).encode()) for i in range(300)])
    got = await take(inbox, 300)
    assert [int(d.body) for d in got] == list(range(300))


async def test_parked_messages_keep_their_body_and_say_why(connect: Connect) -> None:
    transport = await connect()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    await transport.publish([message("run.requested", b"broken")])
    taken = await take(inbox, 1)
    await transport.park(taken[0], "not JSON")
    await inbox.ack(taken)
    (parked,) = await take(await transport.consume([PARKED_QUEUE], 10), 1)
    assert parked.body == b"broken" and parked.headers["reason"] == "not JSON"
    assert parked.headers["routing-key"] == "run.requested"


async def test_a_stopped_inbox_ends_and_gives_back_what_nobody_took(connect: Connect) -> None:
    first, second = await connect(), await connect()
    inbox = await first.consume([ROUTER_QUEUE], 10)
    waiting = asyncio.create_task(inbox.take(1))
    await asyncio.sleep(0)
    await inbox.stop()
    assert await waiting == []
    await second.publish([message("run.requested")])
    assert len(await take(await second.consume([ROUTER_QUEUE], 10), 1)) == 1


async def test_a_closed_transport_is_not_healthy(connect: Connect) -> None:
    transport = await connect()
    assert transport.healthy()
    await transport.close()
    assert not transport.healthy()


async def test_a_mark_is_there_until_it_is_removed(connect: Connect) -> None:
    first, second = await connect(), await connect()
    assert not await first.marked("anabranch.mark.1")
    await first.mark("anabranch.mark.1")
    await second.mark("anabranch.mark.1")
    assert await second.marked("anabranch.mark.1") and not await second.marked("anabranch.mark.2")
    await first.unmark("anabranch.mark.1")
    await second.unmark("anabranch.mark.1")
    assert not await second.marked("anabranch.mark.1") and first.healthy() and second.healthy()


async def test_the_depth_of_a_queue_is_what_nobody_holds_and_who_takes(connect: Connect) -> None:
    transport = await connect()
    assert await transport.depth(step_queue("A")) is None
    await transport.publish([message(step_key("A"), b"%d" % i) for i in range(3)])
    assert await transport.depth(step_queue("A")) == Depth(3, 0)
    inbox = await transport.consume([step_queue("A")], 2)
    held = await take(inbox, 2)
    assert await transport.depth(step_queue("A")) == Depth(1, 1)
    await inbox.ack(held)


async def test_a_purge_removes_what_nobody_holds(connect: Connect) -> None:
    transport = await connect()
    await transport.publish([message(step_key("A"), b"%d" % i) for i in range(3)])
    held = await take(await transport.consume([step_queue("A")], 1), 1)
    assert await transport.purge(step_queue("A")) == 2
    assert await transport.purge(step_queue("nobody")) == 0
    assert len(held) == 1 and transport.healthy()


async def test_a_copy_is_offered_beside_its_original(connect: Connect) -> None:
    transport = await connect()
    original = message(step_key("A"), b"1")
    await transport.publish([original])
    inbox = await transport.consume([step_queue("A")], 10)
    await take(inbox, 1)
    assert await transport.offer_again(original)
    assert [copy.body for copy in await take(inbox, 1)] == [b"1"] and transport.healthy()


async def test_an_inbox_has_failed_when_its_connection_is_gone(connect: Connect) -> None:
    transport = await connect()
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    assert not inbox.failed
    transport.lose()
    assert inbox.failed


async def test_who_holds_and_takes_no_more_counts_as_there(connect: Connect) -> None:
    """So what a worker that leaves, or that has a suspect alone, holds is not taken for lost."""
    transport = await connect()
    await transport.publish([message(step_key("A"))])
    inbox = await transport.consume([step_queue("A")], 2)
    held = await take(inbox, 1)
    await inbox.untaken()
    assert await transport.depth(step_queue("A")) == Depth(0, 1)
    await inbox.ack(held)


async def test_a_lost_connection_reaches_nothing(connect: Connect) -> None:
    transport, mark = await connect(), f"anabranch.mark.{uuid4().hex}"
    transport.lose()
    for call in (
        transport.mark(mark),
        transport.marked(mark),
        transport.unmark(mark),
        transport.depth(ROUTER_QUEUE),
        transport.purge(step_queue("Nobody")),
        transport.consume([ROUTER_QUEUE], 1),
        transport.declare_steps(["Nobody"]),
        transport.declare_reply_queue(),
        transport.publish([message("run.requested")]),
        transport.park(Delivery("run.requested", b"{}"), "a test"),
        anext(aiter(transport.listen_signals("#"))),
        transport.probe(),
    ):
        with pytest.raises(Unavailable):
            await call
    assert await (await connect()).marked(mark) is False
