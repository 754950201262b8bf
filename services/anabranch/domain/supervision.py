"""The life of branches: admit, retry, steer, settle, converge, finish (semantics 5 and 7).

The supervisor is level-triggered: whatever message wakes it, it does everything that is due in the run. So a
lost, late or repeated wake-up changes nothing but the moment.
"""

from datetime import datetime, timedelta
from typing import Any

from anabranch.domain import convergence, settling
from anabranch.domain.retry import delay
from anabranch.domain.routing import discard, expects
from anabranch.domain.state import Branch, RunState, Step
from anabranch.domain.stepping import again, next_step
from anabranch.domain.turn import Turn
from anabranch_contracts import messages as m
from anabranch_contracts.events import BranchFailed, StepFailed, StepRetryScheduled

JSON = Any


def take_failure(turn: Turn, failure: m.StepFailed) -> None:
    """Record a failed attempt, then do what is due."""
    if not expects(turn.state, failure):
        discard(turn, failure)
        return
    agent = turn.state.branches[failure.branch_id].agent
    error = failure.error.model_dump(exclude_none=True)
    turn.record(StepFailed(failure.branch_id, failure.step_id, failure.attempt, agent, error))


def tend(turn: Turn) -> None:
    """Do everything that is due in the run."""
    while not turn.state.terminal and _one_thing(turn):
        pass


def due(state: RunState, now: datetime) -> bool:
    """Whether the run has work for the supervisor."""
    if state.terminal:
        return False
    work = state.troubled or state.pending or state.settled or _due_retry(state, now)
    return bool(work) or convergence.ripe(state) is not None or settling.doomed(state) is not None


def _one_thing(turn: Turn) -> bool:
    """The first thing due, in an order that no schedule can influence; False when there is none."""
    state = turn.state
    if (fork := settling.doomed(state)) is not None:
        settling.abandon(turn, fork)
    elif state.troubled:
        rule_on(turn, state.branches[next(iter(state.troubled))])
    elif state.settled:
        settling.settle(turn, next(iter(state.settled)))
    elif (branch_id := _due_retry(state, turn.now)) is not None:
        again(turn, state.branches[branch_id])
    elif state.pending:
        start(turn, state.branches[next(iter(state.pending))])
    elif (node := convergence.ripe(state)) is not None:
        convergence.fire(turn, node)
    else:
        return False
    return True


def _due_retry(state: RunState, now: datetime) -> str | None:
    """The branch whose retry is due first, if it is due; UTC in ISO 8601 sorts as text."""
    if not state.alarms or datetime.fromisoformat(state.alarms[0][0]) > now:
        return None
    return state.alarms[0][1]


def start(turn: Turn, branch: Branch) -> None:
    """Admit a branch: its next step, where it stands."""
    next_step(turn, branch, branch.agent, branch.request)


def rule_on(turn: Turn, branch: Branch) -> None:
    """Decide what becomes of a step in trouble: steer, retry, or fail the branch."""
    step, config = branch.step, turn.state.config
    assert step is not None and step.trouble is not None
    error, policy = step.trouble, config["retry"]
    match error["kind"]:
        case "invalid_reply" if step.rejections <= config["max_steering"]:
            again(turn, branch, steering=error["message"])
        case "rate_limit" if not _limited_too_long(step, config["max_rate_limit_wait"], turn.now):
            wait = error.get("retry_after")
            _retry_in(turn, branch, step, delay(policy, step.id, step.attempt) if wait is None else wait)
        case "transient" if _may_retry(step, error, policy):
            _retry_in(turn, branch, step, delay(policy, step.id, max(1, step.failures)))
        case _:
            turn.record(BranchFailed(branch.id, branch.agent, _final(error, step)))


def _limited_too_long(step: Step, most: float, now: datetime) -> bool:
    since = step.limited_since
    return since is not None and (now - datetime.fromisoformat(since)).total_seconds() >= most


def _may_retry(step: Step, error: dict[str, JSON], policy: dict[str, JSON]) -> bool:
    return step.failures < policy["max_attempts"] and error.get("type") not in policy["non_retryable"]


def _retry_in(turn: Turn, branch: Branch, step: Step, seconds: float) -> None:
    at = turn.now + timedelta(seconds=seconds)
    turn.record(StepRetryScheduled(branch.id, step.id, step.attempt + 1, at.isoformat()))


def _final(error: dict[str, JSON], step: Step) -> dict[str, JSON]:
    tried = f" (step {step.id}, attempt {step.attempt})"
    return {**error, "message": str(error.get("message", ""))[:2000] + tried}
