"""Queues that RabbitMQ lists and nobody lives in.

A quorum queue declared less than two seconds before its broker is killed may come back as a name: it looks well,
holds nothing, confirms nothing and hands out nothing, through every restart, until it is deleted. Who publishes to
it would wait for ever, and everybody with him. A step's queue may be deleted, for the log knows what it should
hold; the broker itself refuses to delete one whose other members are only out of reach. An alarm or a slow broker
is told from death by asking the broker about something else, before and after.
"""

import asyncio

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection

from anabranch.runtime.rabbitmq.outages import leaving
from anabranch_contracts.addresses import EXCHANGE, PROBE, step_key, step_queue

ANSWER_SECONDS, BURIAL_SECONDS = 4.0, 30.0
log = structlog.get_logger(__name__)


async def bury(url: str, agent: str, body: bytes) -> None:
    """Delete the queue of an agent's steps if it confirms nothing, its broker confirms other things, and it is empty.

    By a connection of its own, and a channel for each question: a channel that published to such a queue hangs.
    """
    with leaving():
        async with asyncio.timeout(BURIAL_SECONDS), await aio_pika.connect(url) as connection:
            if await _confirms(connection, PROBE) and not await _confirms(connection, step_key(agent), body):
                channel = await (await connection.channel()).get_underlay_channel()
                found = await channel.queue_declare(step_queue(agent), passive=True, timeout=ANSWER_SECONDS)
                if not found.message_count and await _confirms(connection, PROBE):
                    await channel.queue_delete(step_queue(agent))
                    log.warning("dead queue deleted", agent=agent, why="it confirmed nothing while its broker did")


async def _confirms(connection: AbstractConnection, key: str, body: bytes = b"") -> bool:
    """Whether a publish is confirmed in time; a step that arrives once more is found stale."""
    channel = await (await connection.channel()).get_underlay_channel()
    try:
        await channel.basic_publish(body, exchange=EXCHANGE, routing_key=key, timeout=ANSWER_SECONDS)
    except TimeoutError:
        return False
    return True
