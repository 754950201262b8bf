"""The life of branches: admit, retry, steer, ask, time out, settle, converge, finish (semantics 5 and 7).

The supervisor is level-triggered: whatever message wakes it, it does everything that is due in the run. So a
lost, late or repeated wake-up changes nothing but the moment.
"""

from datetime import datetime
from typing import Any

from anabranch.domain import answering, convergence, settling
from anabranch.domain.asking import as_question, ask, ask_about_step
from anabranch.domain.clocks import RUN_TIMER, after, due_timer
from anabranch.domain.retry import delay
from anabranch.domain.routing import discard, expects
from anabranch.domain.rules import least
from anabranch.domain.state import Branch, RunState, Step
from anabranch.domain.stepping import admits, again, end_by_rule, over_budget, request_step
from anabranch.domain.turn import Turn
from anabranch_contracts import messages as m
from anabranch_contracts.events import BranchFailed, BranchHeld, StepFailed, StepRetryScheduled

JSON = Any


def take_failure(turn: Turn, failure: m.StepFailed) -> None:
    """Record a failed attempt."""
    if not expects(turn.state, failure):
        discard(turn, failure)
        return
    agent = turn.state.branches[failure.branch_id].agent
    turn.record(
        StepFailed(
            failure.branch_id,
            failure.step_id,
            failure.attempt,
            agent,
            failure.error.model_dump(exclude_none=True),
            started_at=failure.started_at,
            finished_at=failure.finished_at,
            worker=failure.worker,
            usage=failure.usage.model_dump(exclude_none=True) if failure.usage else None,
        )
    )
    over_budget(turn)


def tend(turn: Turn) -> None:
    """Do everything that is due in the run; nothing while it is paused."""
    while not turn.state.terminal and not turn.state.paused and _one_thing(turn):
        pass


def due(state: RunState, now: datetime) -> bool:
    """Whether the run has work for the supervisor."""
    if state.terminal or state.paused:
        return False
    work = state.troubled or state.settled or state.shared or _startable(state) or due_timer(state, now)
    return bool(work) or convergence.ripe(state) is not None or settling.doomed(state) is not None


def _one_thing(turn: Turn) -> bool:
    """The first thing due, in an order that no schedule can influence; False when there is none."""
    state = turn.state
    if (fork := settling.doomed(state)) is not None:
        settling.abandon(turn, fork)
    elif state.troubled:
        rule_on(turn, state.branches[next(iter(state.troubled))])
    elif state.shared:
        settling.enough(turn, state.forks[next(iter(state.shared))])
    elif state.settled:
        settling.settle(turn, next(iter(state.settled)))
    elif (timer := due_timer(state, turn.now)) is not None:
        _ring(turn, timer)
    elif (branch := _startable(state)) is not None:
        start(turn, branch)
    elif (node := convergence.ripe(state)) is not None:
        convergence.fire(turn, node)
    else:
        return False
    return True


def _ring(turn: Turn, timer: str) -> None:
    """Do what a timer was set for."""
    kind, _, identity = timer.partition("/")
    state = turn.state
    if timer == RUN_TIMER:
        seconds = least(state.graph.rules.seconds, state.config["run_timeout"])
        end_by_rule(turn, "TimeoutRule", f"the run took longer than {seconds:g} s", seconds or 0)
    elif kind == "fork":
        settling.expire(turn, state.forks[identity])
    elif kind == "ask":
        answering.expire_request(turn, state.requests[identity])
    else:
        _try_again(turn, state.branches[identity])


def _try_again(turn: Turn, branch: Branch) -> None:
    step = branch.step
    assert step is not None
    if admits(turn.state, branch):
        again(turn, branch)
    else:
        turn.record(BranchHeld(branch.id, branch.agent, step.request))


def _startable(state: RunState) -> Branch | None:
    """A branch that waits for admission and may be admitted; who is to wait for a person takes nobody's place."""
    if not state.pending:
        return None
    branch = state.branches[next(iter(state.pending))]
    return branch if state.graph.is_user(branch.agent) or admits(state, branch) else None


def start(turn: Turn, branch: Branch) -> None:
    """Admit a branch: its next step where it stands, the step that waited for that, or a person."""
    graph, step = turn.state.graph, branch.step
    if graph.is_user(branch.agent):
        fork = turn.state.forks[branch.fork_id]
        asker = fork.node or branch.agent
        returns_to = graph.answers_to(branch.agent, asker)
        ask(turn, branch, as_question(branch.request), "question", returns_to, branch.agent)
    elif step is not None and step.status == "waiting":
        again(turn, branch)
    else:
        request_step(turn, branch, branch.agent, branch.request)


def rule_on(turn: Turn, branch: Branch) -> None:
    """Decide what becomes of a step in trouble: steer, retry, ask a person, or fail the branch."""
    step, config = branch.step, turn.state.config
    assert step is not None and step.trouble is not None
    error, policy = step.trouble, config["retry"]
    match error["kind"]:
        case "invalid_reply" if step.rejections <= config["max_steering"]:
            again(turn, branch, steering=error["message"])
        case "rate_limit" if not _limited_too_long(step, config["max_rate_limit_wait"], turn.now):
            _retry_in(turn, branch, step, _limited_for(step, error.get("retry_after"), policy))
        case "retry_later" if step.deferrals <= config["max_branch_steps"]:
            _retry_in(turn, branch, step, error["retry_after"])
        case "transient" if _may_retry(step, error, policy):
            _retry_in(turn, branch, step, delay(policy, step.id, max(1, step.failures)))
        case "terminal":
            turn.record(BranchFailed(branch.id, branch.agent, _final(error, step)))
        case _ if turn.state.graph.user is not None:
            ask_about_step(turn, branch, _final(error, step))
        case _:
            turn.record(BranchFailed(branch.id, branch.agent, _final(error, step)))


def _limited_too_long(step: Step, most: float, now: datetime) -> bool:
    since = step.limited_since
    return since is not None and (now - datetime.fromisoformat(since)).total_seconds() >= most


def _limited_for(step: Step, told: float | None, policy: dict[str, JSON]) -> float:
    """As long as the other side says, though never without any pause; else longer each time."""
    return delay(policy, step.id, step.limits) if told is None else max(told, delay(policy, step.id, 1))


def _may_retry(step: Step, error: dict[str, JSON], policy: dict[str, JSON]) -> bool:
    return step.failures < policy["max_attempts"] and error.get("type") not in policy["non_retryable"]


def _retry_in(turn: Turn, branch: Branch, step: Step, seconds: float) -> None:
    at = after(turn.now, seconds).isoformat()
    turn.record(StepRetryScheduled(branch.id, step.id, step.attempt + 1, at))


def _final(error: dict[str, JSON], step: Step) -> dict[str, JSON]:
    tried = f" (step {step.id}, attempt {step.attempt})"
    return {**error, "message": error["message"][:2000] + tried}
