"""Read an agent's reply and decide where control goes next (semantics 3 and 4)."""

from collections.abc import Callable, Sequence
from typing import Any

from anabranch.domain.graph import END
from anabranch.domain.occupancy import enclosing
from anabranch.domain.state import ROOT, Branch, Fork, RunState
from anabranch.domain.stepping import next_step
from anabranch.domain.turn import Turn
from anabranch_contracts import events as e
from anabranch_contracts import messages as m
from anabranch_contracts import replies as r

JSON = Any
MAX_DEPTH = 100
MAX_WIDTH = 100_000
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
    reply = r.parse_reply(result.response)
    try:
        move = plan(turn, branch, reply)
    except Forbidden as refusal:
        turn.record(e.StepRejected(reason=str(refusal), response=result.response, **_facts(branch, result)))
        return
    turn.record(
        e.StepCompleted(
            action=reply.action,
            response=result.response,
            context_updates=reply.context_updates,
            **_facts(branch, result),
        )
    )
    move()


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
        case r.Content(value=value):
            return _plan_content(turn, branch, value)
        case r.Invoke(agent=agent, request=request):
            _permit(turn.state, branch, [agent])
            return lambda: move_to(turn, branch, agent, request)
        case r.Parallel(invocations=invocations):
            _permit(turn.state, branch, [i.agent for i in invocations])
            _within_bounds(turn.state, branch, len(invocations))
            return lambda: open_fork(turn, branch, [(i.agent, i.request) for i in invocations])
        case r.Final(value=value):
            return lambda: complete(turn, branch, value)
        case r.Terminal(error=error) | r.ErrorRecovery(error=error):
            return lambda: turn.record(e.BranchFailed(branch.id, branch.agent, _error(error)))
        case r.Malformed(reason=reason):
            raise Forbidden(f"{reason}. {_allowed(turn.state, branch)}")
        case _:
            raise Forbidden(f"{reply.action} is not served yet. {_allowed(turn.state, branch)}")


def _error(error: JSON) -> dict[str, JSON]:
    message = error if isinstance(error, str) else str(error)
    return {"kind": "terminal", "type": "TerminalError", "message": message[:2000]}


def _allowed(state: RunState, branch: Branch) -> str:
    names = ", ".join(state.graph.successors[branch.agent][:50]) or "nobody: answer with final content"
    return f"{branch.agent} may invoke: {names}."


def _permit(state: RunState, branch: Branch, agents: Sequence[str]) -> None:
    if not agents:
        raise Forbidden(f"No agent was named. {_allowed(state, branch)}")
    allowed = state.graph.successor_sets[branch.agent]
    wrong = [a for a in dict.fromkeys(agents) if a not in allowed]
    if wrong:
        raise Forbidden(f"{branch.agent} may not invoke {', '.join(wrong[:10])}. {_allowed(state, branch)}")


def _within_bounds(state: RunState, branch: Branch, width: int) -> None:
    if state.forks[branch.fork_id].depth >= MAX_DEPTH:
        raise Forbidden(f"Forks are nested {MAX_DEPTH} deep already; answer without another fork.")
    if width > MAX_WIDTH:
        raise Forbidden(f"{width} parallel invocations are more than {MAX_WIDTH}; split the work.")


def _plan_content(turn: Turn, branch: Branch, value: JSON) -> Move:
    graph = turn.state.graph
    targets = [s for s in graph.successors[branch.agent] if s not in (branch.dispatched or ())]
    if len(targets) > 1:
        targets = [t for t in targets if not graph.is_user(t)]
    if not targets:
        return lambda: complete(turn, branch, value)
    if len(targets) == 1:
        return lambda: move_to(turn, branch, targets[0], value)
    if graph.dispatches(branch.agent):
        _within_bounds(turn.state, branch, len(targets))
        return lambda: open_fork(turn, branch, [(t, value) for t in targets], dispatched=targets)
    choices = ", ".join(targets[:50])
    raise Forbidden(
        f"{branch.agent} has several successors and did not choose: answer with "
        f'{{"next_action": "invoke_agent", "action_input": one of {choices}}} or a final_response.'
    )


def complete(turn: Turn, branch: Branch, value: JSON) -> None:
    """The branch is done; its value arrives at its fork, or at the run."""
    turn.record(e.BranchCompleted(branch.id, branch.agent, value, branch.fork_id))


def move_to(turn: Turn, branch: Branch, target: str, value: JSON) -> None:
    """Invoke one agent: deliver, return to a waiting ancestor, park, or go on there."""
    state, agent = turn.state, branch.agent
    returning = _waiting_ancestor(state, branch.fork_id, target)
    if target == END:
        turn.record(e.ResultDelivered(branch.id, branch.order, agent, value))
        turn.record(e.BranchCompleted(branch.id, agent, value, None))
    elif returning is not None:
        turn.record(e.BranchCompleted(branch.id, agent, value, returning.id))
    elif target in state.graph.convergence:
        turn.record(e.BranchParked(branch.id, target, agent, value))
    else:
        next_step(turn, branch, target, value)


def _waiting_ancestor(state: RunState, fork_id: str, agent: str) -> Fork | None:
    """The nearest fork around whose owner waits at `agent`."""
    if agent not in state.waiting:
        return None
    return next((f for f in enclosing(state, fork_id) if f.id != ROOT and f.node == agent), None)


def open_fork(
    turn: Turn, branch: Branch, invocations: list[tuple[str, JSON]], dispatched: list[str] | None = None
) -> None:
    """Invoke several agents at once and wait for them."""
    state, agent = turn.state, branch.agent
    number = branch.forks + 1
    fork_id, order = f"{branch.id}.f{number}", [*branch.order, number, 0]
    if all(target == END for target, _ in invocations):
        _deliver_all(turn, branch, order, invocations)
        turn.record(e.BranchMerged(branch.id))
        return
    policy = {**state.config["convergence"], **(state.graph.node[agent].get("convergence") or {})}
    waiting = _waiting_names(state, branch)
    turn.record(e.ForkOpened(fork_id, branch.id, agent, len(invocations), policy, dispatched))
    for i, (target, request) in enumerate(invocations):
        place, token = [*order, i], f"{fork_id}.b{i}"
        if target == END:
            turn.record(e.ResultDelivered(branch.id, place, agent, request))
        elif target in state.graph.convergence and target not in waiting:
            turn.record(e.ContributionParked(fork_id, token, place, target, agent, request))
        else:
            turn.record(e.BranchSpawned(token, branch.id, fork_id, place, target, request))


def _waiting_names(state: RunState, branch: Branch) -> set[str]:
    """Agents at which an ancestor waits, the forking branch itself included."""
    around = {f.node for f in enclosing(state, branch.fork_id) if f.node is not None}
    return around | {branch.agent}


def _deliver_all(turn: Turn, branch: Branch, order: list[int], invocations: list[tuple[str, JSON]]) -> None:
    for i, (_, value) in enumerate(invocations):
        turn.record(e.ResultDelivered(branch.id, [*order, i], branch.agent, value))
