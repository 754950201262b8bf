"""The states a process keeps between batches, and how they are snapshotted."""

from collections import OrderedDict
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import orjson
from pydantic import TypeAdapter

import anabranch_contracts
from anabranch import domain
from anabranch.domain.state import RunState
from anabranch.runtime.ports import Snapshot

_STATE = TypeAdapter(RunState)
SNAPSHOT_EVERY = 500


class StateCache:
    """Least recently used run states, at most `size` of them."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._states: OrderedDict[UUID, RunState] = OrderedDict()

    def get(self, run_id: UUID) -> RunState | None:
        state = self._states.get(run_id)
        if state is not None:
            self._states.move_to_end(run_id)
        return state

    def put(self, state: RunState) -> None:
        """Keep the state; a finished run only until something newer needs the room, one that waits for people not."""
        if state.shown_status in ("waiting", "paused"):
            self.drop(state.run_id)
            return
        self._states[state.run_id] = state
        self._states.move_to_end(state.run_id, last=not state.terminal)
        while len(self._states) > self._size:
            self._states.popitem(last=False)

    def drop(self, run_id: UUID) -> None:
        self._states.pop(run_id, None)


@cache
def reducer_hash() -> str:
    """Identity of the code that folds, what is said included: a snapshot of another reducer is not read."""
    folders = [Path(next(iter(package.__path__))) for package in (domain, anabranch_contracts)]
    sources = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]


def snapshot_due(before: int, state: RunState) -> bool:
    """Whether enough happened for a snapshot; the distance grows with what is live, so its cost per event does not."""
    distance = max(SNAPSHOT_EVERY, len(state.branches))
    return not state.terminal and before // distance != state.version // distance


def freeze(state: RunState) -> Snapshot:
    """The state as disposable bytes; rows must have been drawn from it."""
    data = orjson.dumps(state, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Snapshot(state.run_id, state.version, reducer_hash(), data)


def thaw(snapshot: Snapshot) -> RunState:
    """The state that was frozen; raises `ValueError` where there is none."""
    state = _STATE.validate_json(snapshot.data)
    if (state.run_id, state.version) != (snapshot.run_id, snapshot.version):
        raise ValueError(f"it is of run {state.run_id}, version {state.version}")
    return state
