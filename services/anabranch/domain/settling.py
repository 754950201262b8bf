"""When nothing of a fork is live any more: its owner resumes, is merged, or fails (semantics 5)."""

from typing import Any

from anabranch.domain.occupancy import enclosing
from anabranch.domain.state import ROOT, Branch, Fork, RunState
from anabranch.domain.turn import Turn
from anabranch_contracts.events import BranchFailed, BranchMerged, ForkSettled, RunCompleted, RunFailed

JSON = Any


def settle(turn: Turn, fork_id: str) -> None:
    """Give the fork, or at the root the run, its outcome."""
    state = turn.state
    fork = state.forks[fork_id]
    if fork_id == ROOT:
        _finish(turn, fork)
        return
    assert fork.owner is not None
    owner = state.branches[fork.owner]
    if fork.unmet:
        _fail(turn, fork, owner)
    elif fork.arrivals or (fork.ever and fork.failed == fork.ever):
        records = [record for _, record in sorted(fork.records, key=lambda r: r[0])]
        turn.record(ForkSettled(fork.id, owner.id, "resumed", fork.arrivals, fork.failed, records))
    else:
        turn.record(ForkSettled(fork.id, owner.id, "merged", fork.arrivals, fork.failed))
        turn.record(BranchMerged(owner.id))


def _fail(turn: Turn, fork: Fork, owner: Branch) -> None:
    error = _insufficient(fork)
    turn.record(ForkSettled(fork.id, owner.id, "failed", fork.arrivals, fork.failed))
    turn.record(BranchFailed(owner.id, owner.agent, error))


def _insufficient(fork: Fork) -> dict[str, JSON]:
    what = "the run" if fork.id == ROOT else f"fork {fork.id} at {fork.node}"
    wanted = fork.policy.get("min_ratio", 1.0)
    causes = sorted(fork.causes, key=lambda c: str(c["branch_id"]))
    first = f": {causes[0]['branch_id']} at {causes[0]['agent']}: {causes[0]['message']}" if causes else ""
    message = f"{fork.failed} of {fork.invocations} invocations of {what} failed (min_ratio {wanted}){first}"
    return {"kind": "insufficient", "type": "ForkFailed", "message": message[:4000], "causes": causes}


def _finish(turn: Turn, root: Fork) -> None:
    if root.unmet:
        turn.record(RunFailed(_insufficient(root)))
        return
    records = [record for _, record in sorted(turn.state.deliveries, key=lambda d: d[0])]
    result = records[0]["result"] if len(records) == 1 else (records or None)
    turn.record(RunCompleted(result, len(records)))


def doomed(state: RunState) -> Fork | None:
    """An unmet fork that makes each enclosing fork unmet, up to the root: the run cannot succeed any more."""
    for fork_id in state.suspect:
        fork = state.forks[fork_id]
        around = [f for f in enclosing(state, fork_id) if f.id != fork_id]
        if all(f.unmet_with(f.failed + 1) for f in around):
            return fork
    return None


def abandon(turn: Turn, fork: Fork) -> None:
    """End a run that cannot succeed; everything live is cancelled with it."""
    turn.record(RunFailed(_insufficient(fork)))
