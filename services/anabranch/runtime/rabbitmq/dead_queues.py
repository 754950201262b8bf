"""Queues that RabbitMQ lists and nobody lives in.

A quorum queue declared less than two seconds before its broker is killed may come back as a name: it looks well,
holds nothing, confirms nothing and hands out nothing, through every restart, until it is deleted. Who publishes to
it would wait for ever, and everybody with him. A step's queue may be deleted, for the log knows what it should
hold; the broker itself refuses to delete one whose other members are only out of reach.
"""

import asyncio
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError

from anabranch_contracts.addresses import EXCHANGE, PROBE

ANSWER_SECONDS, DELETE_SECONDS = 4.0, 20.0
log = structlog.get_logger(__name__)


async def bury(connection: AbstractConnection, queue: str) -> None:
    """Delete a queue that has just confirmed nothing, if the broker confirms other things and it holds none."""
    with suppress(AMQPError, OSError, TimeoutError, RuntimeError):
        async with asyncio.timeout(DELETE_SECONDS):
            channel = await (await connection.channel()).get_underlay_channel()
            await channel.basic_publish(b"", exchange=EXCHANGE, routing_key=PROBE, timeout=ANSWER_SECONDS)
            found = await channel.queue_declare(queue, passive=True, timeout=ANSWER_SECONDS)
            if not found.message_count:
                await channel.queue_delete(queue)
                log.warning("dead queue deleted", queue=queue, why="it confirmed nothing while its broker did")
