"""Steps, their attempts and their trouble."""

from typing import Any

from anabranch.domain.clocks import clear_timer, retry_timer, set_timer
from anabranch.domain.evolving.branches import arrive
from anabranch.domain.memory import remember
from anabranch.domain.rules import COST_UNIT
from anabranch.domain.state import Branch, RunState, Step
from anabranch_contracts import events as e

MOST_COST = 2**62
Result = e.StepCompleted | e.StepSuspended | e.StepRejected | e.StepFailed


def step_requested(s: RunState, ev: e.StepRequested, at: str) -> None:
    branch = s.branches[ev.branch_id]
    if branch.status != "running":
        _run(s, branch)
    arrive(s, branch, ev.agent)
    branch.request, branch.passes = None, []
    step = branch.step
    if step is None or step.id != ev.step_id:
        step = Step(ev.step_id, branch.id, ev.step_number, ev.agent, 1, ev.request, at, s.version)
        branch.step, branch.steps = step, ev.step_number
        s.total_steps += 1
    step.attempt, step.steering, step.status, step.due_at = ev.attempt, ev.steering, "requested", None
    step.request = ev.request
    clear_timer(s, retry_timer(branch.id))
    _settle_trouble(s, branch, step)
    _touch(s, branch, step)


def _run(s: RunState, branch: Branch) -> None:
    s.pending.pop(branch.id, None)
    branch.status = "running"
    s.running += 1
    s.most_running = max(s.most_running, s.running)


def _touch(s: RunState, branch: Branch, step: Step) -> None:
    s.touched_branches[branch.id] = branch
    s.touched_steps[step.id] = step


def _settle_trouble(s: RunState, branch: Branch, step: Step) -> None:
    """Somebody has ruled on what went wrong."""
    step.trouble = None
    s.troubled.pop(branch.id, None)


def step_completed(s: RunState, ev: e.StepCompleted, at: str) -> None:
    branch, step = _answered(s, ev, at)
    step.status, step.action, step.result_version, step.error = "completed", ev.action, s.version, None
    remember(s, branch, step, ev.response)
    _update(branch, ev.context_updates)


def _update(branch: Branch, updates: dict[str, Any] | None) -> None:
    if updates:
        branch.context = {**branch.context, **updates}


def _answered(s: RunState, ev: Result, at: str) -> tuple[Branch, Step]:
    """What every result says of its attempt, its cost included."""
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    step.worker, step.usage = ev.worker, ev.usage
    step.started_at, step.finished_at = ev.started_at, ev.finished_at or at
    usage = ev.usage or {}
    s.tokens_used += (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
    s.cost = min(MOST_COST, s.cost + round((usage.get("cost") or 0) * COST_UNIT))
    _touch(s, branch, step)
    return branch, step


def step_suspended(s: RunState, ev: e.StepSuspended, at: str) -> None:
    _, step = _answered(s, ev, at)
    step.status, step.finished_at = "waiting", None
    step.failures = 0  # the agent got one call further
    _unlimited(step)
    step.calls.append({"print": ev.call["print"]})


def _unlimited(step: Step) -> None:
    """Who answers, be it wrongly, is not limited any longer."""
    step.limits, step.limited_since = 0, None


def step_rejected(s: RunState, ev: e.StepRejected, at: str) -> None:
    branch, step = _answered(s, ev, at)
    step.rejections += 1
    _unlimited(step)
    step.result_version = s.version
    _trouble(s, branch, step, {"kind": "invalid_reply", "type": "InvalidReply", "message": ev.reason})


def _trouble(s: RunState, branch: Branch, step: Step, error: dict[str, Any]) -> None:
    step.status, step.error, step.trouble = "failed", error, error
    s.troubled[branch.id] = None


def step_failed(s: RunState, ev: e.StepFailed, at: str) -> None:
    branch, step = _answered(s, ev, at)
    match ev.error.get("kind"):
        case "rate_limit":
            step.limits, step.limited_since = step.limits + 1, step.limited_since or at
        case "retry_later":
            step.deferrals += 1
            _unlimited(step)
        case _:
            step.failures += 1
            _unlimited(step)
    if ev.response is not None:  # an action that keeps the step open
        step.result_version = s.version
        _update(branch, ev.response.get("context_updates"))
    _trouble(s, branch, step, ev.error)


def step_skipped(s: RunState, ev: e.StepSkipped, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    step.status = "skipped"
    _touch(s, branch, step)


def retry_scheduled(s: RunState, ev: e.StepRetryScheduled, at: str) -> None:
    branch = s.branches[ev.branch_id]
    step = branch.step
    assert step is not None
    _settle_trouble(s, branch, step)
    step.status, step.attempt, step.due_at = "waiting", ev.attempt, ev.due_at
    if ev.request is not None:
        step.request, step.calls = ev.request["new"], []
    set_timer(s, retry_timer(branch.id), ev.due_at)
    _touch(s, branch, step)


def discarded(s: RunState, ev: e.StepResultDiscarded, at: str) -> None:
    """Changes nothing but the version."""
