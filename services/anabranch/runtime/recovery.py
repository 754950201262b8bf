"""Publish again what is still owed: by every live run after the broker was lost, or by timers that fell due."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import orjson
import structlog

from anabranch.domain.pending import pending
from anabranch.runtime.handler import utcnow
from anabranch.runtime.hydrating import hydrate
from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import NewId, envelopes
from anabranch.runtime.ports import Outgoing, Store, Transport

PAGE = 100
log = structlog.get_logger(__name__)


async def recover(store: Store, transport: Transport, now: datetime | None = None, new_id: NewId = uuid7) -> int:
    """Publish everything pending of every live run; returns the number of messages."""
    live = await store.live_runs()
    total = 0
    for start in range(0, len(live), PAGE):
        messages = await _owed(store, live[start : start + PAGE], now or utcnow(), new_id)
        await transport.publish(messages)
        total += len(messages)
    return total


async def _owed(store: Store, run_ids: Sequence[UUID], now: datetime, new_id: NewId) -> list[Outgoing]:
    async with store.unit(()) as unit:
        found = await hydrate(unit, dict.fromkeys(run_ids))
    for run_id, why in found.newer.items():
        log.warning("not recovered here", run_id=str(run_id), why=why)
    return [
        message
        for state in found.states.values()
        for owed in pending(state, now)
        for message in envelopes(state, owed, {}, new_id)
    ]


async def wake(
    store: Store, transport: Transport, now: datetime, new_id: NewId = uuid7, newer: Collection[UUID] = ()
) -> int:
    """Wake the supervisor for every run that has a timer due, and is not a newer release's; returns how many."""
    due = [run_id for run_id in await store.due_runs(now) if run_id not in newer]
    await transport.publish([_wake_up(run_id, new_id) for run_id in due])
    return len(due)


def _wake_up(run_id: UUID, new_id: NewId) -> Outgoing:
    return Outgoing("run.recover", orjson.dumps({"run_id": str(run_id)}), new_id(), "RecoverRun", str(run_id))
