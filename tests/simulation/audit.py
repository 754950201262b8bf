"""Every counter of a run's state, counted again from what it counts, after each turn of a recorded stream.

And every row: what is drawn of what a turn touched must leave no row behind what the state says.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from anabranch.domain.evolve import evolve
from anabranch.domain.evolving.forks import firing_id
from anabranch.domain.occupancy import enclosing
from anabranch.domain.projections import draw_rows
from anabranch.domain.recorded import Recorded, Row
from anabranch.domain.state import Branch, Clock, Fork, RunState
from anabranch.runtime.memory.store import MemoryStore
from anabranch_contracts.events import RunForked

LONG, SPARSE = 60, 4  # in a long stream each fourth turn is counted, others in other streams
Live = dict[str, Any]
Counts = dict[str, Any]
Table = dict[tuple[str, tuple[Any, ...]], Mapping[str, Any]]
FIELDS = [f.name for f in fields(RunState) if not f.name.startswith("touched_")]


def audit(events: Sequence[Recorded], kept: Iterable[RunState] = ()) -> Table:
    """The rows of the state folded from the events; raises where a counter of it is not the count, or a row is stale.

    Also where a state that a process has `kept` is not the one that its version has.
    """
    table: Table = {}
    state, awaited = RunState(events[0].run_id), {one.version: one for one in kept}
    every = 1 if len(events) < LONG else SPARSE
    for one, after in zip(events, [*events[1:], None], strict=True):
        evolve(state, one)
        if one.version in awaited:
            _same(awaited[one.version], state)
        if after is not None and one.version % every:
            continue
        at = f"version {state.version}, {type(one.event).__name__}"
        drawn = state.touched_branches, state.touched_convergences, state.touched_steps, state.touched_requests
        _draw(state, table)
        stale = [row for row in _others(state, *drawn) if table.get(_key(row)) != row.values]
        assert not stale, f"{at}: stale rows: {stale}"
        if after is None or (after.causation_id != one.causation_id and not isinstance(after.event, RunForked)):
            told, counted = _told(state), _counted(state)  # a run may be forked in the middle of a turn
            wrong = {k: (told[k], counted[k]) for k in told if told[k] != counted[k]}
            assert not wrong, f"{at}: {wrong}"
    return table


def _key(row: Row) -> tuple[str, tuple[Any, ...]]:
    return row.table, MemoryStore.key(row.table, row.values)


def _draw(state: RunState, table: Table) -> None:
    for row in draw_rows(state):
        table[_key(row)] = row.values


def _others(state: RunState, branches: Live, convergences: Live, steps: Live, requests: Live) -> list[Row]:
    """The rows of all that lives and was not drawn; nothing of it may be touched, and nothing is afterwards."""
    state.touched_branches = _but(branches, state.branches)
    state.touched_convergences = _but(convergences, state.convergences)
    state.touched_steps = _but(steps, {b.step.id: b.step for b in state.branches.values() if b.step is not None})
    state.touched_requests = _but(requests, state.requests)
    state.touched_timers = {key: None if state.paused else due for key, due in state.timers.items()}
    return draw_rows(state)


def _but(drawn: Live, live: Live) -> Live:
    return {identity: one for identity, one in live.items() if drawn.get(identity) is not one}


def _same(kept: RunState, folded: RunState) -> None:
    """Law 4: what lives in memory is what the log says."""
    differ = {f: (getattr(kept, f), getattr(folded, f)) for f in FIELDS if getattr(kept, f) != getattr(folded, f)}
    assert not differ, f"version {kept.version}: kept and folded differ: {differ}"


def _told(s: RunState) -> Counts:
    return {
        "running": s.running,
        "busy": s.busy,
        "asking": s.asking,
        "pending": set(s.pending),
        "active": s.active,
        "waiting": s.waiting,
        "held": {at: dict(held) for at, held in s.waiting_held.items() if held},
        "parked": {node: set(tokens) for node, tokens in s.parked.items()},
        "members": {f.id: set(f.members) for f in s.forks.values()},
        "inside": {f.id: dict(f.held) for f in s.forks.values()},
        "here": {f.id: f.here for f in s.forks.values()},
        "lost": {f.id: (f.failed, f.cancelled) for f in s.forks.values()},
        "timed": {f.id: (f.busy, f.asking) for f in s.forks.values() if f.clock is not None},
        "clocks": {at for at, clock in _clocks(s).items() if clock.since is not None},
        "timers": set(s.timers),
        "traces": set(s.convergences),
    }


def _counted(s: RunState) -> Counts:
    branches, forks = s.branches.values(), s.forks.values()
    asked = [s.branches[f.owner] if f.owner else None for f in forks if f.asked is not None]
    working = [b for b in branches if _works(b)]
    placed = [b for b in branches if b.homes is None]
    return {
        "running": sum(b.status == "running" for b in branches),
        "busy": len(working),
        "asking": sum(b.waits_for is not None for b in branches) + len(asked),
        "pending": {b.id for b in branches if b.status == "pending" and f"retry/{b.id}" not in s.timers},
        "active": Counter(
            [b.agent for b in placed if _works(b) or b.waits_for] + [o.agent for o in asked if o and o.homes is None]
        ),
        "waiting": Counter(s.forks[b.waits_on].node for b in placed if b.waits_on is not None),
        "held": _held(s),
        "parked": {n: {t.id for t in s.tokens.values() if t.node == n} for n in {t.node for t in s.tokens.values()}},
        "members": {f.id: _members(s, f) for f in forks},
        "inside": {f.id: _parked_inside(s, f) for f in forks},
        "here": {f.id: sum(t.fork_id == f.id for t in s.tokens.values()) for f in forks},
        "lost": {f.id: _lost(f) for f in forks},
        "timed": {f.id: _inside(s, f) for f in forks if f.clock is not None},
        "clocks": _going(s),
        "timers": _timers(s),
        "traces": _traces(s),
    }


def _lost(fork: Fork) -> tuple[int, int]:
    """Failed, and ended in another way or left to themselves, as the fork's owner will be told."""
    told = Counter(record["status"] for _, record in fork.records)
    return told["failed"], told["cancelled"] + told["running"]


def _parked_inside(s: RunState, fork: Fork) -> Counts:
    return dict(Counter(t.node for t in s.tokens.values() if _is_inside(s, t.fork_id, fork)))


def _works(b: Branch) -> bool:
    return b.status in ("pending", "running") and b.waits_for is None and b.waits_on is None


def _held(s: RunState) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for fork in s.forks.values():
        if fork.node is not None and not fork.closed:
            nodes = {t.node for t in s.tokens.values() if _is_inside(s, t.fork_id, fork)}
            found.setdefault(fork.node, Counter()).update(nodes)
    return {at: dict(held) for at, held in found.items() if held}


def _is_inside(s: RunState, fork_id: str, fork: Fork) -> bool:
    return any(f.id == fork.id for f in enclosing(s, fork_id))


def _members(s: RunState, fork: Fork) -> set[str]:
    return {b.id for b in s.branches.values() if b.fork_id == fork.id} | {
        t.id for t in s.tokens.values() if t.fork_id == fork.id and not t.is_branch
    }


def _inside(s: RunState, fork: Fork) -> tuple[int, int]:
    branches = [b for b in s.branches.values() if _is_inside(s, b.fork_id, fork)]
    asked = [f for f in s.forks.values() if f.asked and (f.owner is None or f.id != fork.id) and _is_around(s, f, fork)]
    own = int(fork.asked is not None and fork.owner is None)
    return sum(map(_works, branches)), sum(b.waits_for is not None for b in branches) + len(asked) + own


def _clocks(s: RunState) -> dict[str, Clock]:
    clocks = {f.id: f.clock for f in s.forks.values() if f.clock is not None}
    return clocks | ({"run": s.clock} if s.clock is not None else {})


def _going(s: RunState) -> set[str]:
    """The clocks that go: of what is at work, or waits for nobody."""
    if s.paused or s.terminal:
        return set()
    branches = s.branches.values()
    asked = any(b.waits_for is not None for b in branches) or any(f.asked is not None for f in s.forks.values())
    run = {"run"} if s.clock is not None and (any(map(_works, branches)) or not asked) else set()
    timed = [f for f in s.forks.values() if f.clock is not None and f.decided is None]
    return run | {f.id for f in timed if (inside := _inside(s, f))[0] or not inside[1]}


def _is_around(s: RunState, inner: Fork, fork: Fork) -> bool:
    return inner.owner is not None and _is_inside(s, s.branches[inner.owner].fork_id, fork)


def _timers(s: RunState) -> set[str]:
    """Only those that something live explains; clocks may stand still."""
    retries = {f"retry/{b.id}" for b in s.branches.values() if b.id not in s.pending and b.step and b.step.due_at}
    asks = {f"ask/{r.id}" for r in s.requests.values() if f"ask/{r.id}" in s.timers}
    clocks = {f"fork/{f.id}" for f in s.forks.values() if f.clock is not None and f.clock.since is not None}
    run = {"run"} if s.clock is not None and s.clock.since is not None else set()
    return retries | asks | clocks | run


def _traces(s: RunState) -> set[str]:
    """Open are the forks that somebody waits for, and of each convergence node the firing that follows, no other."""
    due = {firing_id(s, node) for node in s.parked}
    left = {c.id for c in s.convergences.values() if c.kind == "node" and c.id == firing_id(s, c.node or "")}
    return due | left | {f.id for f in s.forks.values() if f.owner is not None and not f.closed}
