"""Apply one recorded event to the state: the only code that changes it.

One function per event type, found by the table at the end. Nothing here decides or refuses: what was
recorded has happened. The state is moved in place and handed back; whoever folds owns it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from anabranch_contracts import events as e

from anabranch.domain.memory import remember
from anabranch.domain.occupancy import count, hold, stop_waiting, wait_on
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import ROOT, Branch, Convergence, Fork, RunState, Step, Token


def fold(recorded: Iterable[Recorded], state: RunState | None = None) -> RunState | None:
    """Apply all events in order; None for a stream without events."""
    for one in recorded:
        state = evolve(state or RunState(one.run_id), one)
    return state


def evolve(state: RunState, recorded: Recorded) -> RunState:
    """Apply one event, in place."""
    state.version = recorded.version
    _TABLE[type(recorded.event)](state, recorded.event, _stamp(recorded.at))
    return state


def _stamp(at: datetime) -> str:
    return at.isoformat()


def _run_started(s: RunState, ev: e.RunStarted, at: str) -> None:
    s.status, s.requested_at, s.started_at = "running", at, at
    s.topology, s.topology_hash, s.request_hash = ev.topology, ev.topology_hash, ev.request_hash
    s.task, s.context, s.config = ev.task, ev.context, ev.config
    s.reply_to, s.reply_correlation = ev.reply_to, ev.reply_correlation
    entries = len(s.graph.entries)
    s.forks[ROOT] = Fork(ROOT, None, None, entries, ev.config.get("convergence", {}), at)


def _run_rejected(s: RunState, ev: e.RunRejected, at: str) -> None:
    s.requested_at, s.request_hash = at, ev.request_hash
    s.reply_to, s.reply_correlation = ev.reply_to, ev.reply_correlation
    s.error = {"kind": "rejected", "type": "InvalidRequest", "message": "; ".join(ev.errors), "causes": ev.errors}
    _finish(s, "rejected", at)


def _branch_spawned(s: RunState, ev: e.BranchSpawned, at: str) -> None:
    request = s.task if ev.fork_id == ROOT else ev.request
    branch = Branch(ev.branch_id, ev.parent_branch_id, ev.fork_id, ev.order, ev.agent, request, at)
    parent = s.branches.get(ev.parent_branch_id) if ev.parent_branch_id else None
    branch.context = dict(parent.context) if parent else {}
    _enter(s, branch)


def _enter(s: RunState, branch: Branch) -> None:
    s.branches[branch.id] = branch
    s.pending[branch.id] = None
    s.branch_count += 1
    fork = s.forks[branch.fork_id]
    fork.live += 1
    fork.ever += 1
    count(s.active, branch.agent, 1)
    s.touched_branches[branch.id] = branch


def _step_requested(s: RunState, ev: e.StepRequested, at: str) -> None:
    branch = s.branches[ev.branch_id]
    if branch.status != "running":
        _run(s, branch)
    if branch.agent != ev.agent:
        count(s.active, branch.agent, -1)
        count(s.active, ev.agent, 1)
        if (branch.agent, ev.agent) in s.graph.conversational:
            branch.rise("conversation")
        branch.agent, branch.dispatched = ev.agent, None
    branch.request = None
    step = branch.step
    if step is None or step.id != ev.step_id:
        step = Step(ev.step_id, branch.id, ev.step_number, ev.agent, 1, ev.request, at, s.version)
        branch.step, branch.steps = step, ev.step_number
        s.total_steps += 1
    step.attempt, step.steering, step.status, step.due_at = ev.attempt, ev.steering, "requested", None
    if s.retries.pop(branch.id, None) is not None:
        s.touched_timers[step.id] = None
    _clear_trouble(s, branch)
    _touch(s, branch, step)


def _run(s: RunState, branch: Branch) -> None:
    s.pending.pop(branch.id, None)
    branch.status = "running"
    s.running += 1
    s.most_running = max(s.most_running, s.running)


def _touch(s: RunState, branch: Branch, step: Step) -> None:
    s.touched_branches[branch.id] = branch
    s.touched_steps[step.id] = step


def _clear_trouble(s: RunState, branch: Branch) -> None:
    if branch.step is not None:
        branch.step.trouble = None
    s.troubled.pop(branch.id, None)


def _step_completed(s: RunState, ev: e.StepCompleted, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    step.status, step.action, step.result_version, step.error = "completed", ev.action, s.version, None
    _result(step, ev, at)
    remember(s, branch, step, ev.response)
    if ev.context_updates:
        branch.context = {**branch.context, **ev.context_updates}
    _touch(s, branch, step)


def _result(step: Step, ev: e.StepCompleted | e.StepRejected, at: str) -> None:
    step.worker, step.usage = ev.worker, ev.usage
    step.started_at, step.finished_at = ev.started_at, ev.finished_at or at


def _step_rejected(s: RunState, ev: e.StepRejected, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    step.rejections += 1
    step.result_version = s.version
    _result(step, ev, at)
    _trouble(s, branch, {"kind": "invalid_reply", "type": "InvalidReply", "message": ev.reason})


def _trouble(s: RunState, branch: Branch, error: dict[str, Any]) -> None:
    step = branch.step
    assert step is not None
    step.status, step.error, step.trouble = "failed", error, error
    s.troubled[branch.id] = None
    _touch(s, branch, step)


def _step_failed(s: RunState, ev: e.StepFailed, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    step.finished_at = at
    if ev.error.get("kind") == "rate_limit":
        step.limited_since = step.limited_since or at
    else:
        step.failures += 1
    _trouble(s, branch, ev.error)


def _retry_scheduled(s: RunState, ev: e.StepRetryScheduled, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    _clear_trouble(s, branch)
    step.status, step.attempt, step.due_at = "waiting", ev.attempt, ev.due_at
    s.retries[branch.id] = ev.due_at
    s.touched_timers[step.id] = ev.due_at
    _touch(s, branch, step)


def _discarded(s: RunState, ev: e.StepResultDiscarded, at: str) -> None:
    """Changes nothing but the version."""


def _fork_opened(s: RunState, ev: e.ForkOpened, at: str) -> None:
    owner = s.branches[ev.branch_id]
    owner.forks += 1
    owner.rise("nested")
    depth = s.forks[owner.fork_id].depth + 1
    fork = Fork(
        ev.fork_id, owner.id, ev.node, ev.invocations, ev.policy, at, depth=depth, dispatched=ev.dispatched
    )
    s.forks[fork.id] = fork
    s.running -= 1
    wait_on(s, owner, fork)
    s.touched_branches[owner.id] = owner
    _trace(s, Convergence(fork.id, "fork", ev.node, at, expected=ev.invocations))


def _trace(s: RunState, convergence: Convergence) -> None:
    s.convergences[convergence.id] = s.touched_convergences[convergence.id] = convergence


def _contribution_parked(s: RunState, ev: e.ContributionParked, at: str) -> None:
    fork = s.forks[ev.fork_id]
    fork.live += 1
    fork.ever += 1
    _park(s, Token(ev.token_id, ev.fork_id, ev.order, ev.node, ev.agent, ev.value, at, is_branch=False))


def _branch_parked(s: RunState, ev: e.BranchParked, at: str) -> None:
    branch = s.branches[ev.branch_id]
    _leave_running(s, branch)
    branch.status, branch.agent, branch.dispatched = "waiting", ev.node, None
    _park(s, Token(branch.id, branch.fork_id, branch.order, ev.node, ev.agent, ev.value, at, is_branch=True))
    s.touched_branches[branch.id] = branch


def _leave_running(s: RunState, branch: Branch) -> None:
    """Take an active branch out of the counters of what runs and what may run."""
    count(s.active, branch.agent, -1)
    if branch.status == "running":
        s.running -= 1
    s.pending.pop(branch.id, None)
    _clear_trouble(s, branch)
    if s.retries.pop(branch.id, None) is not None and branch.step is not None:
        s.touched_timers[branch.step.id] = None


def _park(s: RunState, token: Token) -> None:
    s.tokens[token.id] = token
    s.parked.setdefault(token.node, {})[token.id] = None
    hold(s, token, 1)
    identity = firing_id(s, token.node)
    convergence = s.convergences.get(identity)
    if convergence is None:
        convergence = Convergence(identity, "node", token.node, token.since)
        s.convergences[identity] = convergence
    convergence.expected += 1
    convergence.arrived += 1
    s.touched_convergences[identity] = convergence


def firing_id(s: RunState, node: str) -> str:
    """Identity of the next firing of `node`: firings of one node follow each other in every schedule."""
    return f"{node}#{s.firings.get(node, 0) + 1}"


def _result_delivered(s: RunState, ev: e.ResultDelivered, at: str) -> None:
    record = {"agent": ev.agent, "branch_id": ev.branch_id, "result": ev.value}
    s.deliveries.append((ev.order, record))
    s.result_count += 1


def _branch_completed(s: RunState, ev: e.BranchCompleted, at: str) -> None:
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
    _leave_running(s, branch)
    _end(s, branch, "completed", at)


def _end(s: RunState, branch: Branch, status: str, at: str) -> None:
    """The branch's token is gone from its fork."""
    branch.status, branch.finished_at = status, at
    s.touched_branches[branch.id] = branch
    del s.branches[branch.id]
    _gone(s, s.forks[branch.fork_id])


def _gone(s: RunState, fork: Fork) -> None:
    fork.live -= 1
    if fork.live:
        return
    if fork.closed:
        del s.forks[fork.id]
    else:
        s.settled[fork.id] = None


def _branch_failed(s: RunState, ev: e.BranchFailed, at: str) -> None:
    branch = s.branches[ev.branch_id]
    fork = s.forks[branch.fork_id]
    if branch.waits_on is None:
        _leave_running(s, branch)
    branch.error = ev.error
    fork.failed += 1
    count(fork.failed_at, ev.agent, 1)
    record = {"agent": ev.agent, "branch_id": branch.id, "status": "failed", "error": ev.error}
    fork.records.append((branch.order, record))
    if len(fork.causes) < 10:
        fork.causes.append({"agent": ev.agent, "branch_id": branch.id, **ev.error})
    if fork.unmet:
        s.suspect[fork.id] = None
    _end(s, branch, "failed", at)


def _branch_cancelled(s: RunState, ev: e.BranchCancelled, at: str) -> None:
    branch = s.branches[ev.branch_id]
    fork = s.forks[branch.fork_id]
    _leave_running(s, branch)
    fork.records.append((branch.order, {"agent": branch.agent, "branch_id": branch.id, "status": "cancelled"}))
    _end(s, branch, "cancelled", at)


def _branch_merged(s: RunState, ev: e.BranchMerged, at: str) -> None:
    branch = s.branches[ev.branch_id]
    if branch.waits_on is None:
        _leave_running(s, branch)
    _end(s, branch, "merged", at)


def _fork_settled(s: RunState, ev: e.ForkSettled, at: str) -> None:
    """The owner stops waiting; resumed owners are active again, others end by the event that follows."""
    fork = s.forks[ev.fork_id]
    owner = s.branches[ev.branch_id]
    convergence = s.convergences.pop(fork.id)
    convergence.arrived, convergence.failed = ev.arrived, ev.failed
    _fired(s, convergence, owner.id if ev.outcome == "resumed" else None, at)
    _close(s, fork, owner)
    if ev.outcome == "resumed":
        owner.status, owner.request, owner.dispatched = "pending", ev.value, fork.dispatched
        count(s.active, owner.agent, 1)
        s.pending[owner.id] = None
    else:
        owner.waits_on = fork.id  # still counted nowhere: BranchMerged or BranchFailed follows at once
    s.touched_branches[owner.id] = owner


def _close(s: RunState, fork: Fork, owner: Branch) -> None:
    stop_waiting(s, owner)
    s.settled.pop(fork.id, None)
    s.suspect.pop(fork.id, None)
    if not fork.live:
        del s.forks[fork.id]


def _fired(s: RunState, convergence: Convergence, into: str | None, at: str) -> None:
    opened, fired = datetime.fromisoformat(convergence.opened_at), datetime.fromisoformat(at)
    convergence.status, convergence.into, convergence.fired_at = "fired", into, at
    convergence.wait_time = (fired - opened).total_seconds()
    s.wait_time += convergence.wait_time
    s.touched_convergences[convergence.id] = convergence


def _converged(s: RunState, ev: e.BranchConverged, at: str) -> None:
    convergence = s.convergences.pop(ev.convergence_id)
    s.firings[ev.node] = s.firings.get(ev.node, 0) + 1
    _fired(s, convergence, ev.into_branch_id, at)
    if ev.continues == "new":
        parent = s.forks[ev.fork_id].owner
        branch = Branch(ev.into_branch_id, parent, ev.fork_id, ev.order, ev.node, ev.value, at)
        branch.context = dict(s.branches[parent].context) if parent else {}
        _enter(s, branch)
    elif ev.continues == "owner":
        _owner_continues(s, ev)
    for identity in ev.tokens:
        _take(s, identity, ev, at)


def _owner_continues(s: RunState, ev: e.BranchConverged) -> None:
    fork = s.forks[ev.fork_id]
    owner = s.branches[ev.into_branch_id]
    trace = s.convergences.pop(fork.id)
    trace.arrived, trace.failed = fork.ever - fork.failed, fork.failed
    _fired(s, trace, owner.id, s.touched_convergences[ev.convergence_id].fired_at or "")
    _close(s, fork, owner)
    _activate(s, owner, ev)


def _activate(s: RunState, branch: Branch, ev: e.BranchConverged) -> None:
    branch.agent, branch.request, branch.dispatched = ev.node, ev.value, None
    branch.status = "pending"
    s.pending[branch.id] = None
    count(s.active, ev.node, 1)
    s.touched_branches[branch.id] = branch


def _take(s: RunState, identity: str, ev: e.BranchConverged, at: str) -> None:
    """A parked token leaves its node: it goes on there itself, or is merged into what does."""
    token = s.tokens.pop(identity)
    hold(s, token, -1)
    here = s.parked[token.node]
    del here[identity]
    if not here:
        del s.parked[token.node]
    if ev.continues == "token":
        _activate(s, s.branches[identity], ev)
    elif token.is_branch:
        _end(s, s.branches[identity], "merged", at)
    else:
        _gone(s, s.forks[token.fork_id])


def _run_completed(s: RunState, ev: e.RunCompleted, at: str) -> None:
    s.result_count = ev.result_count
    _finish(s, "completed", at)


def _run_failed(s: RunState, ev: e.RunFailed, at: str) -> None:
    s.error = ev.error
    _finish(s, "failed", at)


def _run_cancelled(s: RunState, ev: e.RunCancelled, at: str) -> None:
    _finish(s, "cancelled", at)


def _finish(s: RunState, status: str, at: str) -> None:
    """The run has its outcome: whatever was live is cancelled with it."""
    s.status, s.finished_at, s.finished_version = status, at, s.version
    for branch in s.branches.values():
        _drop(s, branch, at)
    for convergence in s.convergences.values():
        convergence.status = "cancelled"
        s.touched_convergences[convergence.id] = convergence
    for live in (s.branches, s.forks, s.tokens, s.parked, s.active, s.waiting, s.waiting_held, s.pending):
        live.clear()  # type: ignore[attr-defined]
    for work in (s.troubled, s.retries, s.settled, s.suspect, s.convergences, s.deliveries):
        work.clear()  # type: ignore[attr-defined]
    s.running = 0


def _drop(s: RunState, branch: Branch, at: str) -> None:
    branch.status, branch.finished_at = "cancelled", at
    s.touched_branches[branch.id] = branch
    step = branch.step
    if step is not None and step.status in ("requested", "waiting"):
        step.status = "cancelled"
        s.touched_steps[step.id] = step
        if step.due_at is not None:
            s.touched_timers[step.id] = None


_TABLE: dict[type, Callable[[RunState, Any, str], None]] = {
    e.RunStarted: _run_started,
    e.RunRejected: _run_rejected,
    e.BranchSpawned: _branch_spawned,
    e.StepRequested: _step_requested,
    e.StepCompleted: _step_completed,
    e.StepRejected: _step_rejected,
    e.StepFailed: _step_failed,
    e.StepRetryScheduled: _retry_scheduled,
    e.StepResultDiscarded: _discarded,
    e.ForkOpened: _fork_opened,
    e.ContributionParked: _contribution_parked,
    e.BranchParked: _branch_parked,
    e.ResultDelivered: _result_delivered,
    e.BranchCompleted: _branch_completed,
    e.BranchFailed: _branch_failed,
    e.BranchCancelled: _branch_cancelled,
    e.BranchMerged: _branch_merged,
    e.ForkSettled: _fork_settled,
    e.BranchConverged: _converged,
    e.RunCompleted: _run_completed,
    e.RunFailed: _run_failed,
    e.RunCancelled: _run_cancelled,
}
