"""Queues that RabbitMQ lists and nobody lives in.

A quorum queue declared less than two seconds before its broker is killed may come back as a name: it looks well,
holds nothing, confirms nothing and hands out nothing, through every restart, until it is deleted. Who publishes to
it would wait for ever, and everybody with him. A step's queue may be deleted, for the log knows what it should
hold; the broker itself refuses to delete one whose other members are only out of reach.

A queue whose leader is slow looks much the same, and holds what would be lost. Three things tell them apart, and
have to say the same twice: what was published is not confirmed; the broker confirms something else; and it says at
once that the queue is empty, which of a leader that does not answer it says only when it has waited for it.
"""

import asyncio

import structlog

from anabranch.runtime.ids import uuid7
from anabranch.runtime.rabbitmq.confirms import Confirms, Envelope
from anabranch.runtime.rabbitmq.connection import Connection, connected
from anabranch.runtime.rabbitmq.errands import Errands, standing
from anabranch.runtime.rabbitmq.outages import leaving
from anabranch.runtime.rabbitmq.packets import Properties
from anabranch_contracts.addresses import EXCHANGE, PROBE, step_key, step_queue

ANSWER_SECONDS, BURIAL_SECONDS = 5.0, 60.0
VERDICTS = 2
BURIALS: dict[tuple[str, str], asyncio.Task[None]] = {}  # they outlive the connection that was in doubt
log = structlog.get_logger(__name__)


def suspect(url: str, agent: str, body: bytes) -> None:
    """Look into the queue of an agent's steps, unless that is being done: many wait for it at once."""
    grave = (url, agent)
    if grave not in BURIALS:
        BURIALS[grave] = asyncio.create_task(bury(url, agent, body))
        BURIALS[grave].add_done_callback(lambda _: BURIALS.pop(grave))


async def bury(url: str, agent: str, body: bytes) -> None:
    """Delete the queue of an agent's steps if it is dead, leaving a note for the watch: its steps are to be offered.

    By a connection of its own, and a channel for each question: a channel that published to such a queue hangs.
    """
    with leaving():
        async with asyncio.timeout(BURIAL_SECONDS), connected(url) as connection:
            if await _dead(connection, agent, body):
                errands = Errands(connection)
                await errands.mark(step_queue(agent))
                await (await connection.channel()).queue_delete(step_queue(agent))
                log.warning("dead queue deleted", agent=agent, why="it confirmed nothing while its broker did")


async def _dead(connection: Connection, agent: str, body: bytes) -> bool:
    """Whether every look at it says so; a step that arrives once more is found stale."""
    living = asyncio.create_task(_publish(connection, step_key(agent), body, VERDICTS * BURIAL_SECONDS))
    try:
        for _ in range(VERDICTS):
            confirmed, _ = await asyncio.wait({living}, timeout=ANSWER_SECONDS)
            if confirmed or not await _answers_empty(connection, agent):
                return False
        return not living.done()
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def _answers_empty(connection: Connection, agent: str) -> bool:
    """Whether a broker that works says at once that the queue is empty."""
    await _publish(connection, PROBE, b"", ANSWER_SECONDS)
    depth = await standing(await connection.channel(), step_queue(agent))
    return depth.sure and not depth.ready


async def _publish(connection: Connection, key: str, body: bytes, seconds: float) -> None:
    """Return once it is confirmed."""
    publisher = Confirms(await connection.channel())
    await publisher.begin()
    await publisher.publish([Envelope(EXCHANGE, key, body, Properties(str(uuid7())))], seconds)
