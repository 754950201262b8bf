"""How branches come and go, and what their going means for their fork."""

from anabranch.domain.evolving.steps import clear_retry, clear_trouble
from anabranch.domain.occupancy import count
from anabranch.domain.state import ROOT, Branch, Fork, RunState
from anabranch_contracts import events as e


def branch_spawned(s: RunState, ev: e.BranchSpawned, at: str) -> None:
    request = s.task if ev.fork_id == ROOT else ev.request
    branch = Branch(ev.branch_id, ev.parent_branch_id, ev.fork_id, ev.order, ev.agent, request, at)
    parent = s.branches.get(ev.parent_branch_id) if ev.parent_branch_id else None
    branch.context = dict(parent.context) if parent else {}
    enter(s, branch)


def enter(s: RunState, branch: Branch) -> None:
    s.branches[branch.id] = branch
    s.pending[branch.id] = None
    s.branch_count += 1
    fork = s.forks[branch.fork_id]
    fork.live += 1
    fork.ever += 1
    count(s.active, branch.agent, 1)
    s.touched_branches[branch.id] = branch


def result_delivered(s: RunState, ev: e.ResultDelivered, at: str) -> None:
    record = {"agent": ev.agent, "branch_id": ev.branch_id, "result": ev.value}
    s.deliveries.append((ev.order, record))
    s.result_count += 1


def branch_completed(s: RunState, ev: e.BranchCompleted, at: str) -> None:
    branch = s.branches[ev.branch_id]
    branch.result_version = s.version
    if ev.arrives_at == ROOT:
        s.deliveries.append((branch.order, {"agent": ev.agent, "branch_id": branch.id, "result": ev.result}))
        s.result_count += 1
    elif ev.arrives_at is not None:
        record = {"agent": ev.agent, "branch_id": branch.id, "status": "completed", "result": ev.result}
        fork = s.forks[ev.arrives_at]
        fork.arrivals += 1
        fork.records.append((branch.order, record))
    leave_running(s, branch)
    end(s, branch, "completed", at)


def end(s: RunState, branch: Branch, status: str, at: str) -> None:
    """The branch's token is gone from its fork."""
    branch.status, branch.finished_at = status, at
    s.touched_branches[branch.id] = branch
    del s.branches[branch.id]
    gone(s, s.forks[branch.fork_id])


def gone(s: RunState, fork: Fork) -> None:
    fork.live -= 1
    if fork.live:
        return
    if fork.closed:
        del s.forks[fork.id]
    else:
        s.settled[fork.id] = None


def branch_failed(s: RunState, ev: e.BranchFailed, at: str) -> None:
    branch = s.branches[ev.branch_id]
    fork = s.forks[branch.fork_id]
    if branch.waits_on is None:
        leave_running(s, branch)
    branch.error = ev.error
    fork.failed += 1
    count(fork.failed_at, ev.agent, 1)
    record = {"agent": ev.agent, "branch_id": branch.id, "status": "failed", "error": ev.error}
    fork.records.append((branch.order, record))
    if len(fork.causes) < 10:
        fork.causes.append({"agent": ev.agent, "branch_id": branch.id, **ev.error})
    if fork.unmet:
        s.suspect[fork.id] = None
    end(s, branch, "failed", at)


def branch_cancelled(s: RunState, ev: e.BranchCancelled, at: str) -> None:
    branch = s.branches[ev.branch_id]
    fork = s.forks[branch.fork_id]
    leave_running(s, branch)
    fork.records.append((branch.order, {"agent": branch.agent, "branch_id": branch.id, "status": "cancelled"}))
    end(s, branch, "cancelled", at)


def branch_merged(s: RunState, ev: e.BranchMerged, at: str) -> None:
    branch = s.branches[ev.branch_id]
    if branch.waits_on is None:
        leave_running(s, branch)
    end(s, branch, "merged", at)


def leave_running(s: RunState, branch: Branch) -> None:
    """Take an active branch out of the counters of what runs and what may run."""
    count(s.active, branch.agent, -1)
    if branch.status == "running":
        s.running -= 1
    s.pending.pop(branch.id, None)
    clear_trouble(s, branch)
    clear_retry(s, branch)
