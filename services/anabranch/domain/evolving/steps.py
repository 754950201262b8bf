"""Steps, their attempts and their trouble."""

from heapq import heappop, heappush
from typing import Any

from anabranch.domain.memory import remember
from anabranch.domain.occupancy import count
from anabranch.domain.state import Branch, RunState, Step
from anabranch_contracts import events as e


def step_requested(s: RunState, ev: e.StepRequested, at: str) -> None:
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
    clear_retry(s, branch)
    clear_trouble(s, branch)
    _touch(s, branch, step)


def _run(s: RunState, branch: Branch) -> None:
    s.pending.pop(branch.id, None)
    branch.status = "running"
    s.running += 1
    s.most_running = max(s.most_running, s.running)


def _touch(s: RunState, branch: Branch, step: Step) -> None:
    s.touched_branches[branch.id] = branch
    s.touched_steps[step.id] = step


def clear_retry(s: RunState, branch: Branch) -> None:
    """The branch waits for no retry any more; the heap's top is always one that somebody waits for."""
    if s.retries.pop(branch.id, None) is None or branch.step is None:
        return
    s.touched_timers[branch.step.id] = None
    while s.alarms and s.retries.get(s.alarms[0][1]) != s.alarms[0][0]:
        heappop(s.alarms)


def clear_trouble(s: RunState, branch: Branch) -> None:
    if branch.step is not None:
        branch.step.trouble = None
    s.troubled.pop(branch.id, None)


def step_completed(s: RunState, ev: e.StepCompleted, at: str) -> None:
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


def step_rejected(s: RunState, ev: e.StepRejected, at: str) -> None:
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


def step_failed(s: RunState, ev: e.StepFailed, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    step.finished_at = at
    if ev.error.get("kind") == "rate_limit":
        step.limited_since = step.limited_since or at
    else:
        step.failures += 1
    _trouble(s, branch, ev.error)


def retry_scheduled(s: RunState, ev: e.StepRetryScheduled, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    clear_trouble(s, branch)
    step.status, step.attempt, step.due_at = "waiting", ev.attempt, ev.due_at
    s.retries[branch.id] = ev.due_at
    heappush(s.alarms, (ev.due_at, branch.id))
    s.touched_timers[step.id] = ev.due_at
    _touch(s, branch, step)


def discarded(s: RunState, ev: e.StepResultDiscarded, at: str) -> None:
    """Changes nothing but the version."""
