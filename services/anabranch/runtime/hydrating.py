"""The states of runs as the log has them: from the cache, else a snapshot, and the events after it.

A run that a newer release has written to cannot be folded here; nothing is guessed, it is left to that release.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from anabranch.domain.evolve import evolve
from anabranch.domain.state import RunState
from anabranch.runtime.cache import reducer_hash, thaw
from anabranch.runtime.ports import Snapshot, Stream, Unit
from anabranch_contracts.events import RunErased

NO_REDUCER = "none: the whole stream"
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Hydrated:
    """States by run; `newer` are runs of a newer release, with what is not known of them."""

    states: dict[UUID, RunState] = field(default_factory=dict)
    newer: dict[UUID, str] = field(default_factory=dict)


async def hydrate(unit: Unit, cached: Mapping[UUID, RunState | None]) -> Hydrated:
    """Bring the cached states (None: there is none) up to the log."""
    known = {run_id: state.version if state else 0 for run_id, state in cached.items()}
    streams = await unit.read(known, reducer_hash())
    starts, spoilt = _starts(cached, streams)
    if spoilt:
        streams.update(await unit.read(dict.fromkeys(spoilt, 0), NO_REDUCER))
    found = Hydrated()
    for run_id, state in starts.items():
        stream = streams.get(run_id, Stream(None, ()))
        if stream.unknown is not None:
            found.newer[run_id] = stream.unknown
            continue
        state = state or RunState(run_id)
        for recorded in stream.events:
            evolve(state, recorded)
        found.states[run_id] = state
    return found


async def outdated(unit: Unit, versions: Mapping[UUID, int]) -> bool:
    """Whether the log has more of these runs: a fence only tells where something is recorded."""
    streams = await unit.read(versions, reducer_hash()) if versions else {}
    return any(stream.events or stream.unknown is not None for stream in streams.values())


def _starts(
    cached: Mapping[UUID, RunState | None], streams: Mapping[UUID, Stream]
) -> tuple[dict[UUID, RunState | None], list[UUID]]:
    """Where each fold starts, and the runs that are folded from their beginning: their snapshot is none, or what
    was cached of them has been erased, and must not live on here.
    """
    starts, spoilt = dict(cached), []
    for run_id, stream in streams.items():
        if stream.snapshot is not None:
            starts[run_id] = _thawed(stream.snapshot)
            spoilt += [run_id] if starts[run_id] is None else []
        elif starts.get(run_id) is not None and any(isinstance(r.event, RunErased) for r in stream.events):
            starts[run_id] = None
            spoilt.append(run_id)
    return starts, spoilt


def _thawed(snapshot: Snapshot) -> RunState | None:
    try:
        return thaw(snapshot)
    except ValueError as error:
        log.warning("snapshot not readable", run_id=str(snapshot.run_id), error=str(error)[:300])
        return None
