"""When nothing of a fork is live any more, or its policy will not wait: its owner resumes, is merged, or fails."""

from typing import Any

from anabranch.domain.asking import ask_about_fork
from anabranch.domain.sizes import affordable, too_large_together
from anabranch.domain.state import ROOT, Branch, Fork, RunState
from anabranch.domain.stepping import too_many_branches
from anabranch.domain.turn import Turn
from anabranch_contracts.events import (
    BranchCancelled,
    BranchFailed,
    BranchMerged,
    BranchOrphaned,
    BranchSpawned,
    ContributionCancelled,
    FailuresRetried,
    ForkSettled,
    ForkWaived,
    RunCancelled,
    RunCompleted,
    RunFailed,
)

JSON = Any


def settle(turn: Turn, fork_id: str) -> None:
    """Give the fork, or at the root the run, its outcome; where the policy says so, a person decides."""
    fork = turn.state.forks[fork_id]
    if fork.unmet:
        fail(turn, fork, insufficient(fork))
    elif fork.short_with(fork.failed) and fork.policy.get("on_insufficient") == "user":
        ask_about_fork(turn, fork, _first_cause(fork))
    elif fork_id == ROOT:
        _finish(turn, fork)
    else:
        _return(turn, fork)


def _return(turn: Turn, fork: Fork) -> None:
    """The owner resumes with what came back, or goes with what converged elsewhere."""
    assert fork.owner is not None
    records = [record for _, record in sorted(fork.records, key=lambda r: r[0])]
    if fork.returns:
        answers = affordable(_in_order_of_calls(fork, records))
        turn.record(ForkSettled(fork.id, fork.owner, "returned", fork.arrivals, fork.failed, answers))
    elif fork.arrivals or (fork.ever and fork.failed + fork.cancelled == fork.ever):
        turn.record(ForkSettled(fork.id, fork.owner, "resumed", fork.arrivals, fork.failed, affordable(records)))
    else:
        turn.record(ForkSettled(fork.id, fork.owner, "merged", fork.arrivals, fork.failed))
        turn.record(BranchMerged(fork.owner))


def _in_order_of_calls(fork: Fork, records: list[dict[str, JSON]]) -> list[dict[str, JSON]]:
    """One record for each call: those that met share what came of it, those that went elsewhere are `merged`."""
    by_branch = {record["branch_id"]: record for record in records}
    away = {"agent": fork.node, "status": "merged"}
    called = [f"{fork.id}.b{i}" for i in range(fork.invocations)]
    return [{**by_branch.get(_in_the_end(fork, one), away), "branch_id": one} for one in called]


def _in_the_end(fork: Fork, branch_id: str) -> str:
    """The branch that went on for this one."""
    while branch_id in fork.went:
        branch_id = fork.went[branch_id]
    return branch_id


def fail(turn: Turn, fork: Fork, error: dict[str, JSON]) -> None:
    """Fail the fork's owner, or at the root the run; what is still live inside is cancelled."""
    if fork.owner is None:
        turn.record(RunFailed(error))
        return
    _leave_behind(turn, fork, "its fork failed")
    cancel_inside(turn, fork, "its fork failed")
    owner = turn.state.branches[fork.owner]
    turn.record(ForkSettled(fork.id, owner.id, "failed", fork.arrivals, fork.failed))
    turn.record(BranchFailed(owner.id, owner.agent, error))


def insufficient(fork: Fork) -> dict[str, JSON]:
    """The error of an unmet fork; names the causes."""
    what = "the run" if fork.id == ROOT else f"fork {fork.id} at {fork.node}"
    wanted = fork.policy.get("min_ratio", 1.0)
    first = f": {_first_cause(fork)}" if fork.causes else ""
    message = f"{fork.failed} of {fork.invocations} invocations of {what} failed (min_ratio {wanted}){first}"
    return {"kind": "insufficient", "type": "ForkFailed", "message": message[:4000], "causes": _causes(fork)}


def _causes(fork: Fork) -> list[dict[str, JSON]]:
    return [cause for _, cause in fork.causes]


def _first_cause(fork: Fork) -> str:
    return next((f"{c['branch_id']} at {c['agent']}: {c['message']}" for c in _causes(fork)), "")


def _finish(turn: Turn, root: Fork) -> None:
    records = [record for _, record in sorted(turn.state.deliveries, key=lambda d: d[0])]
    if not records and root.cancelled and root.cancelled == root.ever:
        turn.record(RunCancelled("every branch was cancelled"))
        return
    if len(records) > 1 and (why := too_large_together(records)) is not None:
        turn.record(RunFailed({"kind": "terminal", "type": "ResultsTooLarge", "message": why}))
        return
    result = records[0]["result"] if len(records) == 1 else (records or None)
    turn.record(RunCompleted(result, len(records)))


def doomed(state: RunState) -> Fork | None:
    """An unmet fork that need not be waited for: it is to fail fast, or makes every fork around it unmet.

    Only such a one is suspect, and nothing but a person's word, which is asked for when all is settled, takes it back.
    """
    return next((fork for fork in map(state.forks.__getitem__, state.suspect) if fork.unmet), None)


def abandon(turn: Turn, fork: Fork) -> None:
    """End what cannot succeed: the fork's owner where it fails fast, else the run."""
    if fork.policy.get("fail_fast"):
        fail(turn, fork, insufficient(fork))
    else:
        turn.record(RunFailed(insufficient(fork)))


def enough(turn: Turn, fork: Fork) -> None:
    """An eager fork goes on with the share that has arrived."""
    turn.record(ForkWaived(fork.id, "eager"))
    _leave_behind(turn, fork, "enough others had arrived")


def expire(turn: Turn, fork: Fork) -> None:
    """A fork's time is over: it fails, or goes on with what is there, or a person decides."""
    seconds = fork.policy.get("timeout")
    error = {"kind": "timeout", "type": "ConvergenceTimeout", "message": f"not there after {seconds:g} s"}
    match fork.policy.get("on_timeout"):
        case "proceed":
            turn.record(ForkWaived(fork.id, "timeout"))
            _leave_behind(turn, fork, "its fork timed out", error)
            if fork.returns:  # who waits inside an agent's code waits for nothing that is parked
                cancel_inside(turn, fork, "its call timed out")
        case "user":
            _leave_behind(turn, fork, "its fork timed out", error)
            ask_about_fork(turn, fork, error["message"])
        case _:
            what = "the run" if fork.id == ROOT else f"fork {fork.id} at {fork.node}"
            fail(turn, fork, {**error, "message": f"{what} was {error['message']}", "causes": _causes(fork)})


def _leave_behind(turn: Turn, fork: Fork, reason: str, error: dict[str, JSON] | None = None) -> None:
    """The fork waits for nobody any more: who is still at work is ended, or by its policy finishes unheard."""
    for branch in _at_work(turn.state, fork):
        if not fork.policy.get("terminate_orphans", True) and branch.step is not None:
            _clear_nodes(turn, branch, reason)
            turn.record(BranchOrphaned(branch.id, error))
        elif error is None:
            cancel(turn, branch, reason)
        else:
            cancel_inside_of(turn, branch, reason)
            turn.record(BranchFailed(branch.id, branch.agent, error))


def _clear_nodes(turn: Turn, branch: Branch, reason: str) -> None:
    """End what is parked inside: an orphan meets nobody at a convergence node."""
    if branch.waits_on is None:
        return
    for token in sorted(turn.state.forks[branch.waits_on].members):
        if token in turn.state.tokens:
            _end_token(turn, token, reason)
        else:
            _clear_nodes(turn, turn.state.branches[token], reason)


def _at_work(state: RunState, fork: Fork) -> list[Branch]:
    """The fork's own live branches that are not parked, in tree order."""
    found = [state.branches[t] for t in fork.members if t in state.branches and t not in state.tokens]
    return sorted(found, key=lambda b: b.order)


def cancel(turn: Turn, branch: Branch, reason: str) -> None:
    """End a branch and everything inside it."""
    cancel_inside_of(turn, branch, reason)
    turn.record(BranchCancelled(branch.id, reason))


def cancel_inside_of(turn: Turn, branch: Branch, reason: str) -> None:
    """End everything that the branch waits for."""
    if branch.waits_on is not None:
        cancel_inside(turn, turn.state.forks[branch.waits_on], reason)


def cancel_inside(turn: Turn, fork: Fork, reason: str) -> None:
    """End every live token of a fork, the innermost first."""
    for token in sorted(fork.members):
        _end_token(turn, token, reason)


def _end_token(turn: Turn, token: str, reason: str) -> None:
    branch = turn.state.branches.get(token)
    if branch is None:
        turn.record(ContributionCancelled(token, reason))
    else:
        cancel(turn, branch, reason)


def try_again(turn: Turn, fork: Fork) -> None:
    """Spawn the failed children of a fork anew, where they stood in the tree."""
    if too_many_branches(turn, len(fork.lost)):
        return
    lost = sorted(fork.lost, key=lambda one: one[1])
    turn.record(FailuresRetried(fork.id, [identity for identity, *_ in lost]))
    for identity, order, agent, request in lost:
        turn.record(BranchSpawned(f"{identity}r", fork.owner, fork.id, order, agent, request))
