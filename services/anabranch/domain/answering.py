"""Take a person's answer, or the default when time is up, and act on it (semantics 7 and 8)."""

from typing import Any

from anabranch.domain.asking import decision, misfit
from anabranch.domain.moving import complete, move_to
from anabranch.domain.routing import Forbidden, plan
from anabranch.domain.settling import fail, insufficient, try_again
from anabranch.domain.state import ROOT, Branch, Fork, UserRequest
from anabranch.domain.stepping import next_step
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import messages as m
from anabranch_contracts.events import (
    BranchFailed,
    ForkWaived,
    StepRetryScheduled,
    StepSkipped,
    UserInputProvided,
)
from anabranch_contracts.replies import Content

JSON = Any


def take_answer(turn: Turn, answer: m.UserInputProvided) -> None:
    """Record the answer and go on with it; raises `Refused` where it does not fit, and the request stays open."""
    request = turn.state.requests.get(str(answer.request_id))
    if request is None:
        raise Refused(f"user request {answer.request_id} is not open: it was answered, cancelled, or never asked")
    reason = _misfit(request, answer.value)
    if reason is not None:
        raise Refused(f"the answer to user request {request.id} {reason}")
    _go_on(turn, request, answer.value, "person")


def _misfit(request: UserRequest, value: JSON) -> str | None:
    if request.kind in ("error", "fork"):
        return decision(request, value)[2]
    return misfit(value, request.choices, request.schema)


def expire_request(turn: Turn, request: UserRequest) -> None:
    """Nobody answered in time: the default is the answer."""
    _go_on(turn, request, request.default, "timeout")


def _go_on(turn: Turn, request: UserRequest, value: JSON, by: str) -> None:
    turn.record(UserInputProvided(request.id, request.branch_id, value, by))
    state = turn.state
    match request.kind:
        case "question":
            _deliver(turn, state.branches[request.branch_id], request.returns_to, value)
        case "error":
            _rule_on_step(turn, state.branches[request.branch_id], request, value)
        case "fork":
            _rule_on_fork(turn, state.forks[request.fork_id or ROOT], decision(request, value)[0])
        case _:
            pass  # a call is taken up by the agent that made it; a notice was only to be read


def _deliver(turn: Turn, branch: Branch, target: str | None, value: JSON) -> None:
    if target is None or target == branch.agent:
        next_step(turn, branch, branch.agent, value)
    else:
        move_to(turn, branch, target, value)


def _rule_on_step(turn: Turn, branch: Branch, request: UserRequest, value: JSON) -> None:
    what, new_request, _ = decision(request, value)
    step = branch.step
    assert step is not None
    match what:
        case "retry":
            replaced = None if new_request is ... else {"new": new_request}
            turn.record(StepRetryScheduled(branch.id, step.id, step.attempt + 1, turn.now.isoformat(), replaced))
        case "skip":
            turn.record(StepSkipped(branch.id, step.id))
            _skip(turn, branch)
        case _:
            error = request.prompt["error"]
            aborted = {**error, "message": f"{error['message']} (aborted by a person)"}
            turn.record(BranchFailed(branch.id, branch.agent, aborted))


def _skip(turn: Turn, branch: Branch) -> None:
    """Go on as if the agent had said nothing; where it would have had to choose, the branch is done."""
    try:
        move = plan(turn, branch, Content(None))
    except Forbidden:
        complete(turn, branch, None)
    else:
        move()


def _rule_on_fork(turn: Turn, fork: Fork, what: str) -> None:
    match what:
        case "retry" if fork.lost:
            try_again(turn, fork)
        case "retry" | "skip":  # where nothing can be tried again, there is what there is
            turn.record(ForkWaived(fork.id, "person"))
        case _:
            fail(turn, fork, {**insufficient(fork), "type": "Aborted"})
