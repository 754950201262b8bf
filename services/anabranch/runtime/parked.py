"""Messages that were set aside: what is there, and what becomes of those that are chosen.

They are looked at unacked, so whoever looks, or dies, leaves them as they were, in their order. One that is offered
again is acked after that was confirmed: who dies in between has it twice, under one identity, which happens once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import again
from anabranch.runtime.ports import Delivery, Inbox, Transport, Undeliverable
from anabranch.runtime.rabbitmq.parties import WORKER
from anabranch.runtime.reading import identity_of
from anabranch_contracts.addresses import PARKED_QUEUE, agent_of, parked_key

QUIET_SECONDS = 2.0
MOST = 65_535  # unacked at once
BATCH = 256


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was set aside: what it was published as, why it is here, and since when, if that is known."""

    delivery: Delivery
    id: str
    routing_key: str
    reason: str
    since: str | None


def parked(delivery: Delivery) -> Parked:
    """Read what is known of it: from the broker that gave it up, or from us.

    The broker first: what it gave up has the other headers from whoever published it. We keep none of the broker's.
    """
    headers, death = delivery.headers, _death(delivery)
    given_up = f"{death.get('reason', 'unknown')} in {death.get('queue', 'a queue')}"
    key = next(iter(death.get("routing-keys") or ()), None) or headers.get("routing-key") or delivery.routing_key
    reason = given_up if death else headers.get("reason") or given_up
    since = death.get("time") or headers.get("parked-at")
    return Parked(delivery, delivery.message_id or "", str(key), str(reason), str(since) if since else None)


def _death(delivery: Delivery) -> dict[str, Any]:
    deaths = delivery.headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


@asynccontextmanager
async def opened(transport: Transport, most: int = MOST) -> AsyncIterator[tuple[Inbox, list[Parked], int]]:
    """The first messages that are there now, in order, and how many there are; what is not acked stays."""
    depth = await transport.depth(PARKED_QUEUE)
    there = depth.ready if depth is not None else 0
    wanted = min(there, most, MOST)
    found: list[Parked] = []
    if not wanted:
        yield await transport.consume([], 1), found, there
        return
    inbox = await transport.consume([PARKED_QUEUE], wanted)
    while len(found) < wanted and (taken := await next_of(inbox, wanted - len(found))):
        found += map(parked, taken)
    yield inbox, found, there


async def next_of(inbox: Inbox, most: int) -> list[Delivery]:
    """What comes next; [] when nothing does: somebody else took the rest."""
    try:
        return await asyncio.wait_for(inbox.take(most), QUIET_SECONDS)
    except TimeoutError:
        return []


async def replay(transport: Transport, inbox: Inbox, chosen: Sequence[Parked]) -> dict[str, str]:
    """Offer the chosen again; those that cannot be delivered stay, by id and with the reason."""
    stays: dict[str, str] = {}
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        outcomes = await asyncio.gather(*[_offer(transport, one) for one in batch])
        stays |= {one.id: why for one, why in zip(batch, outcomes, strict=True) if why is not None}
        await inbox.ack([one.delivery for one, why in zip(batch, outcomes, strict=True) if why is None])
    return stays


def _may_return(one: Parked) -> bool:
    """Only steps come back from what a worker has set aside: it could have made up anything else."""
    return one.delivery.routing_key != parked_key(WORKER.name) or agent_of(one.routing_key) is not None


async def _offer(transport: Transport, one: Parked) -> str | None:
    if not _may_return(one):
        return "only steps come back from what a worker has set aside"
    delivery = replace(one.delivery, routing_key=one.routing_key)
    identity = identity_of(delivery) if delivery.message_id else uuid7()
    try:
        await transport.publish([again(delivery, identity)])
    except Undeliverable as why:
        return str(why)
    return None
