"""After the database was put back to an earlier point: what the broker still has of the future that was lost.

Results of steps may belong to steps that this log will ask differently: they are set aside, with a reason. What
services said to each other, and what was asked of workers, is owed by the log and is dropped. What came from outside
(requests, commands, answers of people) is kept, in its order: nobody else knows of it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import again
from anabranch.runtime.parked import next_of
from anabranch.runtime.ports import Delivery, Depth, Inbox, Transport
from anabranch.runtime.reading import identity_of
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue
from anabranch_contracts.errors import AnabranchError

FROM_OUTSIDE = (
    "run.requested",
    "run.cancel",
    "run.pause",
    "run.resume",
    "run.checkpoint",
    "run.fork",
    "user.provided",
)
RESULTS = ("step.completed", "step.failed")
BATCH = 500
TWICE_SECONDS = 2.0
REASON = "a result from before the database was put back to an earlier point"


class StillServed(AnabranchError):
    """Somebody takes from a queue that is to be emptied."""


@dataclass(slots=True)
class Cleared:
    """What became of the messages."""

    kept: int = 0
    parked: int = 0
    dropped: int = 0


async def clear(transport: Transport, agents: Sequence[str]) -> Cleared:
    """Empty the queues of services and workers of all that is not from outside; nobody may be taking from them."""
    await _unserved(transport, agents)
    await asyncio.sleep(TWICE_SECONDS)  # a queue between two leaders says that nobody takes from it
    depths = await _unserved(transport, agents)
    cleared = Cleared()
    for agent in agents:
        cleared.dropped += await transport.purge(step_queue(agent))
    for name in (ROUTER_QUEUE, SUPERVISOR_QUEUE):
        await _sort(transport, name, depths[name], cleared)
    return cleared


async def _unserved(transport: Transport, agents: Sequence[str]) -> dict[str, Depth]:
    """How the queues stand; raises `StillServed` where somebody takes from one, or one does not say."""
    names = [ROUTER_QUEUE, SUPERVISOR_QUEUE, *map(step_queue, agents)]
    depths = {name: await transport.depth(name) or Depth(0, 0) for name in names}
    if served := sorted(name for name, depth in depths.items() if depth.consumers):
        hint = "stop routers, supervisors and workers first: what they hold would come back afterwards"
        raise StillServed(f"still served: {', '.join(served)}", hint=hint)
    if silent := sorted(name for name, depth in depths.items() if not depth.sure):
        hint = "wait until RabbitMQ is well (rabbitmqctl list_queues), and try again; nothing was changed"
        raise StillServed(f"does not say whether it is served: {', '.join(silent)}", hint=hint)
    return depths


async def _sort(transport: Transport, queue: str, depth: Depth, cleared: Cleared) -> None:
    """Go once through what is there; what is kept goes to the end."""
    if not depth.ready:
        return
    inbox = await transport.consume([queue], BATCH)
    left = depth.ready
    while left and (taken := await next_of(inbox, min(left, BATCH))):
        await _sort_batch(transport, inbox, taken, cleared)
        left -= len(taken)
    await inbox.stop()


async def _sort_batch(transport: Transport, inbox: Inbox, taken: Sequence[Delivery], cleared: Cleared) -> None:
    kept = [delivery for delivery in taken if delivery.routing_key in FROM_OUTSIDE]
    results = [delivery for delivery in taken if delivery.routing_key in RESULTS]
    await transport.publish([again(delivery, _identity(delivery)) for delivery in kept])
    for delivery in results:
        await transport.park(delivery, REASON)
    await inbox.ack(taken)
    cleared.kept += len(kept)
    cleared.parked += len(results)
    cleared.dropped += len(taken) - len(kept) - len(results)


def _identity(delivery: Delivery) -> UUID:
    """What makes it happen once; one without stays one of its own."""
    return identity_of(delivery) if delivery.message_id else uuid7()
