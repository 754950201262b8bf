"""Traps of the client and the broker: each must end in `Unavailable`, never in a service that only looks alive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from anabranch.runtime.ports import Delivery, Outgoing, Unavailable
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE


def message() -> Outgoing:
    return Outgoing("run.requested", b"{}", uuid4(), "T")


class Hole:
    """A TCP proxy that can swallow everything or cut all connections."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: list[asyncio.StreamWriter] = []
        self.open = asyncio.Event()
        self.open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(*self._target)
        self._writers += [writer, other_writer]
        await asyncio.gather(self._pump(reader, other_writer), self._pump(other_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def through_a_hole(url: str) -> AsyncIterator[tuple[Hole, str]]:
    parts = urlsplit(url)
    hole = Hole(parts.hostname or "", parts.port or 5672)
    server = await asyncio.start_server(hole.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield hole, f"amqp://guest:guest@127.0.0.1:{port}{parts.path}"
    finally:
        hole.open.set()
        hole.cut()
        server.close()


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
    async with through_a_hole(amqp_url) as (hole, url):
        transport = RabbitTransport(url, publish_timeout=1.0)
        await transport.connect()
        hole.open.clear()
        with pytest.raises(Unavailable):
            await transport.publish([message() for _ in range(10)])
        assert not transport.healthy()
        hole.open.set()
        await transport.close()


async def test_a_reset_connection_is_noticed_by_who_waits(amqp_url: str) -> None:
    async with through_a_hole(amqp_url) as (hole, url):
        transport = RabbitTransport(url)
        await transport.connect()
        inbox = await transport.consume([ROUTER_QUEUE], 10)
        await transport.publish([message()])
        taken = await inbox.take(1)
        hole.cut()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await inbox.take(1)
        with pytest.raises(Unavailable):
            await inbox.ack(taken)
        with pytest.raises(Unavailable):
            await transport.publish([message()])
        await transport.close()


async def test_cancelling_a_publish_is_a_cancellation_and_no_outage(amqp_url: str) -> None:
    async with through_a_hole(amqp_url) as (hole, url):
        transport = RabbitTransport(url)
        await transport.connect()
        hole.open.clear()
        publishing = asyncio.create_task(transport.publish([message()]))
        await asyncio.sleep(0.05)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        hole.open.set()
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
    assert parked.headers.keys() == {"small", "reason", "routing-key"} and transport.healthy()
    await transport.close()
