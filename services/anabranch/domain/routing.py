"""Read an agent's reply: accept, reject or discard it, and plan the move it asks for (semantics 3)."""

from collections.abc import Callable, Sequence, Set
from typing import Any, assert_never

import orjson

from anabranch.domain.asking import Unaskable, ask, askable
from anabranch.domain.conditions import facts_of, holds
from anabranch.domain.graph import END, Graph
from anabranch.domain.moving import complete, move_to, open_call, open_fork
from anabranch.domain.sizes import MAX_CONTEXT, MAX_TOGETHER, size, together, too_much
from anabranch.domain.state import Branch, RunState
from anabranch.domain.stepping import over_budget
from anabranch.domain.turn import Turn
from anabranch_contracts import events as e
from anabranch_contracts import messages as m
from anabranch_contracts import replies as r
from anabranch_contracts.reply_notation import parse_reply

JSON = Any
MAX_DEPTH = 100
MAX_WIDTH = 100_000
MAX_CALLS = 1000
Move = Callable[[], None]


class Forbidden(Exception):
    """The reply cannot be followed; says what was wrong and what is allowed."""


def expects(state: RunState, result: m.StepCompleted | m.StepFailed) -> bool:
    """Whether the result answers the attempt that its branch is waiting for."""
    branch = state.branches.get(result.branch_id)
    step = branch.step if branch is not None else None
    return (
        step is not None and step.id == result.step_id and step.attempt == result.attempt and step.status == "requested"
    )


def discard(turn: Turn, result: m.StepCompleted | m.StepFailed) -> None:
    """Record a result that came too late, with its cost."""
    usage = getattr(result, "usage", None)
    reason = f"run is {turn.state.status}" if turn.state.terminal else "not the attempt that is waited for"
    turn.record(
        e.StepResultDiscarded(
            result.branch_id, result.step_id, result.attempt, reason, result.worker, usage and usage.model_dump()
        )
    )


def take_result(turn: Turn, result: m.StepCompleted) -> None:
    """Accept, reject or discard a reply and follow it."""
    if not expects(turn.state, result):
        discard(turn, result)
        return
    branch = turn.state.branches[result.branch_id]
    reply = parse_reply(result.response)
    try:
        _bound(branch, reply.context_updates)
        move = plan(turn, branch, reply)
    except Forbidden as refusal:
        turn.record(e.StepRejected(reason=str(refusal), response=result.response, **_facts(branch, result)))
    else:
        turn.record(_accepted(branch, reply, result))
        if not over_budget(turn):
            move()
        return
    over_budget(turn)


def _bound(branch: Branch, updates: r.Updates) -> None:
    """What every step carries must not grow without end."""
    if not updates:
        return
    bytes_ = size({**branch.context, **updates})
    if (why := too_much("context_updates: the context would have", bytes_, MAX_CONTEXT)) is not None:
        raise Forbidden(f"{why}.")


def _accepted(branch: Branch, reply: r.Reply, result: m.StepCompleted) -> e.Event:
    """How the reply is recorded: as what completes the step, or as what keeps it open."""
    facts = _facts(branch, result)
    match reply:
        case r.RetryLater(after_seconds=seconds):
            error = {"kind": "retry_later", "type": "RetryLater", "message": "later", "retry_after": seconds}
            return e.StepFailed(error=error, response=result.response, **facts)
        case r.ErrorRecovery(error=said):
            error = {**_error(said, "ErrorRecovery"), "kind": "recoverable"}
            return e.StepFailed(error=error, response=result.response, **facts)
        case r.Call(number=number, fingerprint=fingerprint):
            call = {"number": number, "print": fingerprint, "of": [i.agent for i in reply.invocations] or ["User"]}
            return e.StepSuspended(call=call, **facts)
        case _:
            updates = reply.context_updates
            return e.StepCompleted(action=reply.action, response=result.response, context_updates=updates, **facts)


def _facts(branch: Branch, result: m.StepCompleted) -> dict[str, Any]:
    return {
        "branch_id": branch.id,
        "step_id": result.step_id,
        "attempt": result.attempt,
        "agent": branch.agent,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "worker": result.worker,
        "usage": result.usage.model_dump(exclude_none=True) if result.usage else None,
    }


def plan(turn: Turn, branch: Branch, reply: r.Reply) -> Move:
    """The move that a reply asks for; raises `Forbidden` where topology or form do not allow it."""
    match reply:
        case r.Content(value=value) if turn.state.forks[branch.fork_id].returns:
            return lambda: complete(turn, branch, value)  # a call from inside an agent wants the answer itself
        case r.Content(value=value):
            return plan_content(turn, branch, value)
        case r.Invoke(agent=agent, request=request):
            _permit(turn.state, branch, [agent], reply)
            return lambda: move_to(turn, branch, agent, request)
        case r.Parallel(invocations=invocations):
            _permit(turn.state, branch, [i.agent for i in invocations], reply)
            _within_bounds(turn.state, branch, [i.request for i in invocations])
            calls = [(i.agent, i.request) for i in invocations]
            return lambda: open_fork(turn, branch, calls, own=reply.convergence, inherit=reply.inherit_memory)
        case r.Final(value=value):
            return lambda: complete(turn, branch, value)
        case r.AskUser():
            _askable(reply)
            return lambda: ask(turn, branch, reply, "question", branch.agent)
        case r.Terminal(error=error):
            return lambda: turn.record(e.BranchFailed(branch.id, branch.agent, _error(error)))
        case r.RetryLater() | r.ErrorRecovery():
            return lambda: None
        case r.Call():
            return _plan_call(turn, branch, reply)
        case r.Malformed(reason=reason):
            raise Forbidden(f"{reason}. {_allowed(turn.state, branch)}")
        case _:
            assert_never(reply)


def _plan_call(turn: Turn, branch: Branch, call: r.Call) -> Move:
    """A call from inside an agent's code: a fork whose records come back into it, or a question."""
    if branch.step is None or call.number != len(branch.step.calls) + 1 or call.number > MAX_CALLS:
        raise Forbidden(f"call {call.number} does not follow on what was called before (at most {MAX_CALLS})")
    if call.ask is not None:
        question = call.ask
        _askable(question)
        return lambda: ask(turn, branch, question, "call", None)
    if any(i.agent == END for i in call.invocations):
        raise Forbidden(f"{END} cannot be called: nothing comes back from it. Return a final_response instead.")
    _permit(turn.state, branch, [i.agent for i in call.invocations], call)
    _within_bounds(turn.state, branch, [i.request for i in call.invocations])
    return lambda: open_call(turn, branch, call)


def _error(error: JSON, kind: str = "TerminalError") -> dict[str, JSON]:
    """What an agent says is wrong: a text, or an object with `type` and `message`."""
    said = error if isinstance(error, dict) else {}
    message = said.get("message", error)
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    return {"kind": "terminal", "type": str(said.get("type", kind))[:200], "message": text[:2000]}


def _askable(question: r.AskUser) -> None:
    try:
        askable(question)
    except Unaskable as error:
        raise Forbidden(f"ask_user: {error}") from None


def _allowed(state: RunState, branch: Branch, closed: Set[str] = frozenset()) -> str:
    to = [s for s in state.graph.successors[branch.agent] if s not in closed]
    names = ", ".join(to[:50]) or "nobody: answer with final content"
    return f"{branch.agent} may invoke: {names}."


def _permit(state: RunState, branch: Branch, agents: Sequence[str], reply: r.Reply) -> None:
    allowed = state.graph.successor_sets[branch.agent]
    named = list(dict.fromkeys(agents))
    wrong = [a for a in named if a not in allowed]
    if wrong:
        raise Forbidden(f"{branch.agent} may not invoke {', '.join(wrong[:10])}. {_allowed(state, branch)}")
    closed = set(named) - set(_open(state, branch, named, reply))
    if closed:
        shut = ", ".join(sorted(closed))
        raise Forbidden(f"The condition of the edge to {shut} does not hold now. {_allowed(state, branch, closed)}")


def _open(state: RunState, branch: Branch, targets: Sequence[str], reply: r.Reply) -> list[str]:
    """Those targets whose edge has no condition, or one that holds with this reply."""
    conditions = state.graph.conditions
    if not conditions or not any((branch.agent, t) in conditions for t in targets):
        return list(targets)
    said = getattr(reply, "value", getattr(reply, "request", None))
    step = {"number": branch.steps, "agent": branch.agent, "response": said}
    facts = facts_of(state, branch, step, reply.context_updates or {})
    expressions = {t: conditions.get((branch.agent, t)) for t in targets}
    return [t for t, expression in expressions.items() if expression is None or holds(expression, facts)]


def _within_bounds(state: RunState, branch: Branch, requests: Sequence[JSON]) -> None:
    width = len(requests)
    if state.forks[branch.fork_id].depth >= MAX_DEPTH:
        raise Forbidden(f"Forks are nested {MAX_DEPTH} deep already; answer without another fork.")
    if width > MAX_WIDTH:
        raise Forbidden(f"{width} parallel invocations are more than {MAX_WIDTH}; split the work.")
    if (why := too_much(f"the requests of {width} invocations have", together(requests), MAX_TOGETHER)) is not None:
        raise Forbidden(f"{why}.")


def _speaks_to_all(graph: Graph, agent: str, only: str) -> bool:
    """Whether a hub has one spoke: it too is spoken to in a fork, and comes back."""
    return graph.dispatches(agent) and (agent, only) in graph.conversational and not graph.is_user(only)


def plan_content(turn: Turn, branch: Branch, value: JSON) -> Move:
    """Where the topology sends content; raises `Forbidden` where the agent has to choose."""
    graph = turn.state.graph
    left = [s for s in graph.successors[branch.agent] if s not in (branch.dispatched or ())]
    targets = _open(turn.state, branch, left, r.Content(value))
    if len(targets) > 1:
        targets = [t for t in targets if not graph.is_user(t)]
    if not targets:
        return lambda: complete(turn, branch, value)
    if len(targets) == 1 and not _speaks_to_all(graph, branch.agent, targets[0]):
        return lambda: move_to(turn, branch, targets[0], value)
    if graph.dispatches(branch.agent):
        _within_bounds(turn.state, branch, [value] * len(targets))
        return lambda: open_fork(turn, branch, [(t, value) for t in targets], dispatched=targets)
    choices = ", ".join(targets[:50])
    raise Forbidden(
        f"{branch.agent} has several successors and did not choose: answer with "
        f'{{"next_action": "invoke_agent", "action_input": one of {choices}}} or a final_response.'
    )
