"""Each user of `ops/rabbitmq/definitions.json` does its work, and is refused everything else: a right that is missing
closes the channel with 403."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelAccessRefused

from anabranch.runtime import parked
from anabranch.runtime.handler import utcnow
from anabranch.runtime.ports import Delivery, Denied, Inbox, Outgoing
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.parties import CLIENT, OPERATOR, ROUTER, SUPERVISOR, WORKER, Party
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.watch import Watch
from anabranch_contracts.addresses import (
    EXCHANGE,
    MARK,
    PARKED_QUEUE,
    ROUTER_QUEUE,
    SERVICE_QUEUES,
    SIGNALS,
    SUPERVISOR_QUEUE,
    step_key,
    step_queue,
)
from tests.security.locked import DEFINITIONS, Locked

Attempt = Callable[[AbstractChannel], Awaitable[Any]]


@asynccontextmanager
async def channel(servers: Locked, party: str) -> AsyncIterator[AbstractChannel]:
    """A bare channel of the party's user."""
    connection = await aio_pika.connect(servers.amqp(party))
    try:
        transport = connection.transport
        assert transport is not None
        yield await transport.connection.channel(publisher_confirms=True)
    finally:
        await connection.close()


def publish(key: str, exchange: str = EXCHANGE) -> Attempt:
    return lambda c: c.basic_publish(b"{}", exchange=exchange, routing_key=key)


def consume(queue: str) -> Attempt:
    async def ignored(_: object) -> None:
        """Nothing should come."""

    return lambda c: c.basic_consume(queue, ignored)


def bind(queue: str, key: str, exchange: str = EXCHANGE) -> Attempt:
    return lambda c: c.queue_bind(queue, exchange, key)


def declare(queue: str) -> Attempt:
    return lambda c: c.queue_declare(queue, durable=True)


def listen(exchange: str, key: str) -> Attempt:
    """With a queue that has a name of the broker's making, or one that the party may make."""

    async def attempt(c: AbstractChannel) -> None:
        for name in ("", f"anabranch.reply.{uuid4().hex}"):
            try:
                queue = (await c.queue_declare(name, exclusive=True)).queue or ""
            except ChannelAccessRefused:
                if name:
                    raise
                c = await c.connection.channel()
                continue
            await c.queue_bind(queue, exchange, key)
            return

    return attempt


async def smuggle(c: AbstractChannel) -> None:
    """An exchange of one's own in front of ours, where no right to a topic is asked."""
    own = f"anabranch.step.{uuid4().hex}"
    await c.exchange_declare(exchange=own, exchange_type="fanout")
    await c.exchange_bind(destination=EXCHANGE, source=own)
    await c.basic_publish(b"{}", exchange=own, routing_key="run.cancel")


async def smuggle_by_reply(c: AbstractChannel) -> None:
    own = f"anabranch.reply.{uuid4().hex}"
    await c.exchange_declare(exchange=own, exchange_type="fanout")
    await c.exchange_bind(destination=EXCHANGE, source=own)
    await c.basic_publish(b"{}", exchange=own, routing_key="step.completed")


async def feed_a_dead_letter(c: AbstractChannel) -> None:
    """A queue whose dead letters go where its maker may not publish: there is no way to fill it."""
    own = f"anabranch.reply.{uuid4().hex}"
    letters = {"x-dead-letter-exchange": EXCHANGE, "x-dead-letter-routing-key": "step.completed", "x-message-ttl": 0}
    await c.queue_declare(own, arguments=letters, exclusive=True)
    await c.basic_publish(b"{}", exchange="", routing_key=own)


FORBIDDEN: list[tuple[str, str, Attempt]] = [
    *(("worker", f"publishes {key}", publish(key)) for key in ("run.requested", "run.cancel", "run.recover")),
    *(("worker", f"publishes {key}", publish(key)) for key in ("user.provided", "branch.completed", "run.completed")),
    *(("worker", f"publishes {key}", publish(key)) for key in ("step.requested.A", "step.rejected", "parked.router")),
    ("worker", "stops others' steps", publish("step.stop", SIGNALS)),
    ("worker", "writes into a queue past the exchange", publish(ROUTER_QUEUE, "")),
    ("worker", "hands another worker a step", publish(step_queue("A"), "")),
    *(("worker", f"consumes {queue}", consume(queue)) for queue in SERVICE_QUEUES),
    ("worker", "listens to requests", listen(EXCHANGE, "run.requested")),
    ("worker", "listens to everything", listen(EXCHANGE, "#")),
    ("worker", "listens to all signals", listen(SIGNALS, "#")),
    ("worker", "has other messages come to its own queue", bind(step_queue("A"), "run.requested")),
    ("worker", "makes a service's queue", declare("anabranch.other")),
    ("worker", "deletes a service's queue", lambda c: c.queue_delete(ROUTER_QUEUE)),
    ("worker", "empties a service's queue", lambda c: c.queue_purge(ROUTER_QUEUE)),
    ("worker", "deletes the exchange", lambda c: c.exchange_delete(exchange=EXCHANGE)),
    ("worker", "unbinds a service", lambda c: c.queue_unbind(ROUTER_QUEUE, EXCHANGE, "run.requested")),
    ("worker", "goes round the topics by an exchange of its own", smuggle),
    *(("client", f"publishes {key}", publish(key)) for key in ("step.completed", "step.failed", "run.recover")),
    *(("client", f"publishes {key}", publish(key)) for key in ("branch.completed", "user.requested", "run.completed")),
    *(("client", f"publishes {key}", publish(key)) for key in ("step.requested.A", "parked.router", "parked.worker")),
    ("client", "stops steps", publish("step.stop", SIGNALS)),
    ("client", "writes into a queue past the exchange", publish(SUPERVISOR_QUEUE, "")),
    *(("client", f"consumes {queue}", consume(queue)) for queue in (*SERVICE_QUEUES, step_queue("A"))),
    ("client", "listens to others' questions", listen(EXCHANGE, "user.requested")),
    ("client", "listens to everything", listen(EXCHANGE, "#")),
    ("client", "makes a worker's queue", declare(step_queue("B"))),
    ("client", "deletes a worker's queue", lambda c: c.queue_delete(step_queue("A"))),
    ("client", "goes round the topics by an exchange of its own", smuggle_by_reply),
    ("client", "fills a queue whose dead letters lie", feed_a_dead_letter),
    ("router", "consumes the supervisor's queue", consume(SUPERVISOR_QUEUE)),
    ("router", "consumes a worker's queue", consume(step_queue("A"))),
    ("router", "reads what was set aside", consume(PARKED_QUEUE)),
    *(("router", f"publishes {key}", publish(key)) for key in ("run.requested", "step.completed", "user.provided")),
    *(("router", f"publishes {key}", publish(key)) for key in ("run.cancel", "run.fork", "parked.worker")),
    ("router", "has the supervisor's messages come to it", bind(ROUTER_QUEUE, "user.provided")),
    ("router", "deletes the exchange", lambda c: c.exchange_delete(exchange=EXCHANGE)),
    ("router", "deletes its own queue", lambda c: c.queue_delete(ROUTER_QUEUE)),
    ("supervisor", "consumes the router's queue", consume(ROUTER_QUEUE)),
    ("supervisor", "reads what was set aside", consume(PARKED_QUEUE)),
    *(("supervisor", f"publishes {key}", publish(key)) for key in ("run.requested", "step.completed", "user.provided")),
    ("supervisor", "has the router's messages come to it", bind(SUPERVISOR_QUEUE, "step.completed")),
]


@pytest.mark.parametrize(("party", "what", "attempt"), FORBIDDEN, ids=[f"{p} {w}" for p, w, _ in FORBIDDEN])
async def test_what_is_not_its_work_is_refused(servers: Locked, party: str, what: str, attempt: Attempt) -> None:
    async with channel(servers, "worker") as made:
        await made.queue_declare(step_queue("A"), durable=True)
    async with channel(servers, party) as trying:
        with pytest.raises(ChannelAccessRefused):
            await attempt(trying)


def outgoing(key: str) -> Outgoing:
    return Outgoing(key, b"{}", uuid4(), "T", mandatory=False)


WORK = {
    ROUTER: ("branch.spawned", "step.rejected", "run.rejected", "run.completed", step_key("Fresh.Router")),
    SUPERVISOR: ("run.failed", "user.requested", "run.recover", "branch.merged", step_key("Fresh.Supervisor")),
    WORKER: ("step.completed", "step.failed"),
    CLIENT: ("run.requested", "run.cancel", "run.fork", "user.provided"),
    OPERATOR: ("run.recover", "run.requested", step_key("Fresh.Operator")),
}


@pytest.mark.parametrize("party", WORK, ids=lambda party: party.name)
async def test_what_is_its_work_is_not(servers: Locked, party: Party) -> None:
    transport = RabbitTransport(servers.amqp(party.name), party=party)
    await transport.connect()
    await transport.publish([outgoing(key) for key in WORK[party]])
    if party in (ROUTER, SUPERVISOR, WORKER):
        await transport.park(Delivery("step.requested.A", b"{}"), "a reason")
    if party in (ROUTER, SUPERVISOR):
        await transport.publish_signal("step.stop", b"{}")
        assert transport.healthy()
    if party is WORKER:
        listening = asyncio.create_task(anext(transport.listen_signals("step.stop")))
        await transport.declare_steps(["Mine"])
        await transport.consume([step_queue("Mine")], 10)
        done, _ = await asyncio.wait({listening}, timeout=0.5)
        assert not done, "it listens, and was not refused"
        listening.cancel()
    if party is CLIENT:
        await transport.consume([await transport.declare_reply_queue()], 10)
    await transport.close()


async def test_who_may_make_no_copies_is_told_so_and_works_on(servers: Locked) -> None:
    transport = RabbitTransport(servers.amqp("worker"), party=WORKER)
    await transport.connect()
    await transport.declare_steps(["Mine"])
    for _ in range(2):
        assert not await transport.offer_again(outgoing(step_key("Mine")))
    await transport.publish([outgoing("step.completed")])
    assert transport.healthy()
    await transport.close()


async def test_a_missing_right_is_said_with_its_mend(servers: Locked) -> None:
    transport = RabbitTransport(servers.amqp("client"), party=CLIENT)
    await transport.connect()
    with pytest.raises(Denied, match=r"ACCESS_REFUSED.*step.completed") as refused:
        await transport.publish([outgoing("step.completed")])
    assert "`client` in ops/rabbitmq/definitions.json" in refused.value.mend
    assert not transport.healthy()
    await transport.close()


async def test_a_watch_without_the_right_to_leave_marks_looks_on(servers: Locked, database_url: str) -> None:
    transport, store = RabbitTransport(servers.amqp("router"), party=ROUTER), PostgresStore(database_url)
    await transport.connect()
    with pytest.raises(Denied, match="ACCESS_REFUSED") as refused:
        await transport.mark(MARK + "of-a-router")
    assert "`router` in ops/rabbitmq/definitions.json" in refused.value.mend
    watching = asyncio.create_task(Watch(store, transport, utcnow, every=0.1).run())
    looked: set[datetime] = set()
    async with asyncio.timeout(20):
        while len(looked) < 3 and not watching.done():
            looked.add((await store.lookout()).looked_at)
            await asyncio.sleep(0.05)  # SQL has no signal
    assert not watching.done() and transport.healthy()
    watching.cancel()
    await transport.close()
    await store.close()


async def test_a_wrong_password_is_said_with_its_mend(servers: Locked) -> None:
    url = servers.amqp("client").replace("anabranch-client:", "anabranch-client:wrong-")
    with pytest.raises(Denied, match=r"does not let this user in.*ACCESS_REFUSED") as refused:
        await RabbitTransport(url, party=CLIENT).connect()
    assert "password" in refused.value.mend and "wrong-" not in str(refused.value)


@pytest.mark.parametrize("user", ["guest", "anabranch-nobody"])
async def test_nobody_else_gets_in(servers: Locked, user: str) -> None:
    url = servers.amqp("client").replace("anabranch-client:", f"{user}:").replace("/?", "/?x=1&")
    with pytest.raises(AMQPError):
        await aio_pika.connect(url)


async def test_a_message_that_is_offered_too_often_is_parked_by_the_broker(servers: Locked) -> None:
    """As by services that die of it again and again: the policies of the definitions keep it from being dropped."""
    operator = RabbitTransport(servers.amqp("operator"), party=OPERATOR)
    await operator.connect()
    identity = str(uuid4())
    async with channel(servers, "client") as asking, channel(servers, "router") as dying:
        properties = spec.Basic.Properties(message_id=identity)
        await asking.basic_publish(b"{}", exchange=EXCHANGE, routing_key="run.requested", properties=properties)

        async def give_back(message: DeliveredMessage) -> None:
            await dying.basic_nack(message.delivery_tag or 0, requeue=True)

        await dying.basic_consume(ROUTER_QUEUE, give_back)
        inbox = await operator.consume([PARKED_QUEUE], 100)
        async with asyncio.timeout(120):
            found = await taken(inbox, identity)
    assert (found.routing_key, found.reason) == ("run.requested", f"delivery_limit in {ROUTER_QUEUE}")
    await operator.close()


async def taken(inbox: Inbox, identity: str) -> parked.Parked:
    """The parked message, taken away."""
    while True:
        for delivery in await inbox.take(100):
            if delivery.message_id == identity:
                await inbox.ack([delivery])
                return parked.parked(delivery)


def test_the_definitions_hold_no_secret_and_every_binding() -> None:
    said = json.loads(DEFINITIONS.read_text())
    assert all(user["password_hash"] == "" and "password" not in user for user in said["users"])
    bound = {(b["destination"], b["routing_key"]) for b in said["bindings"]}
    assert bound == {(queue, key) for queue, keys in SERVICE_QUEUES.items() for key in keys}
