"""Publish again what is still owed: by every live run after the broker was lost, or by timers that fell due."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson

from anabranch.domain.evolve import evolve
from anabranch.domain.pending import pending
from anabranch.domain.state import RunState
from anabranch.runtime.cache import reducer_hash, thaw
from anabranch.runtime.handler import utcnow
from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import NewId, envelopes
from anabranch.runtime.ports import Outgoing, Store, Stream, Transport

PAGE = 100


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
        streams = await unit.read(dict.fromkeys(run_ids, 0), reducer_hash())
    return [
        message
        for run_id, stream in streams.items()
        for state in [_state(run_id, stream)]
        for owed in pending(state, now)
        for message in envelopes(state, owed, {}, new_id)
    ]


def _state(run_id: UUID, stream: Stream) -> RunState:
    state = thaw(stream.snapshot) if stream.snapshot is not None else RunState(run_id)
    for recorded in stream.events:
        evolve(state, recorded)
    return state


async def wake(store: Store, transport: Transport, now: datetime, new_id: NewId = uuid7) -> int:
    """Wake the supervisor for every run that has a timer due; returns how many."""
    due = await store.due_runs(now)
    await transport.publish([_wake_up(run_id, new_id) for run_id in due])
    return len(due)


def _wake_up(run_id: UUID, new_id: NewId) -> Outgoing:
    return Outgoing("run.recover", orjson.dumps({"run_id": str(run_id)}), new_id(), "RecoverRun", str(run_id))
