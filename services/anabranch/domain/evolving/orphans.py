"""Branches whose fork goes on without them, where its policy does not end them (`terminate_orphans: false`).

An orphan, with everything inside it, moves to a fork of its own that nobody waits for but the run's end. It is counted
at no place any more, so no convergence node waits for it; it remembers as `homes` where it would have come back to.
"""

from collections.abc import Iterator
from typing import Any

from anabranch.domain.evolving.branches import gone, join
from anabranch.domain.evolving.losses import count_cancelled, count_failure
from anabranch.domain.occupancy import enclosing, place, work
from anabranch.domain.state import ORPHANS, Branch, Fork, RunState
from anabranch_contracts import events as e


def branch_orphaned(s: RunState, ev: e.BranchOrphaned, at: str) -> None:
    branch = s.branches[ev.branch_id]
    fork = s.forks[branch.fork_id]
    homes = [*(branch.homes or ()), *(f.node for f in enclosing(s, fork.id) if f.node is not None)]
    busy, asking = _uproot(s, branch, homes)
    work(s, fork.id, -busy, -asking)
    _count(s, fork, branch, ev.error)
    refuge = s.forks.setdefault(ORPHANS, Fork(ORPHANS, None, None, 0, {}, at, closed=True))
    gone(s, fork, branch.id)
    branch.fork_id = refuge.id
    join(refuge, branch.id)
    work(s, refuge.id, busy, asking)


def _count(s: RunState, fork: Fork, branch: Branch, error: dict[str, Any] | None) -> None:
    if error is None:
        count_cancelled(fork, branch, "running")
    else:
        count_failure(s, fork, branch, error)


def _uproot(s: RunState, orphan: Branch, homes: list[str]) -> tuple[int, int]:
    """Take the orphan and all inside it from the places; how many of them are at work, and wait for people."""
    inside = list(_inside(s, orphan))
    forks = [s.forks[b.waits_on] for b in inside if b.waits_on is not None]
    own = {f.id for f in forks}
    for fork in forks:
        fork.timed = fork.timed if fork.timed in own else None
    for branch in inside:
        waits = branch.waits_on is not None
        place(s.waiting if waits else s.active, branch, -1)
        if waits and s.forks[str(branch.waits_on)].asked is not None:
            place(s.active, branch, -1)
        branch.homes = homes
    asking = sum(b.waits_for is not None for b in inside) + sum(f.asked is not None for f in forks)
    return sum(b.waits_on is None and b.waits_for is None for b in inside), asking


def _inside(s: RunState, branch: Branch) -> Iterator[Branch]:
    """The branch and all that are live in the forks it waits on; none of them is parked any more."""
    yield branch
    if branch.waits_on is not None:
        for token in s.forks[branch.waits_on].members:
            yield from _inside(s, s.branches[token])
