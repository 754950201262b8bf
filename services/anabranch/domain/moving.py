"""Where control goes: to one agent, to several at once, home to whoever waits, or to the run (semantics 4)."""

from typing import Any

from anabranch.domain.asking import as_question, ask
from anabranch.domain.graph import END
from anabranch.domain.occupancy import enclosing
from anabranch.domain.policies import fork_policy
from anabranch.domain.state import ORPHANS, Branch, Fork, RunState
from anabranch.domain.stepping import next_step, rule_error, too_many_branches
from anabranch.domain.turn import Turn
from anabranch_contracts import events as e
from anabranch_contracts import replies as r

JSON = Any


def complete(turn: Turn, branch: Branch, value: JSON) -> None:
    """The branch is done; its value arrives at its fork, or at the run."""
    if branch.fork_id == ORPHANS:
        _end_unheard(turn, branch, value)
    else:
        turn.record(e.BranchCompleted(branch.id, branch.agent, value, branch.fork_id))


def _end_unheard(turn: Turn, branch: Branch, value: JSON) -> None:
    """An orphan has come to where it was waited for once: what it brings is discarded."""
    step = branch.step
    if step is not None:
        reason = "its fork had gone on without it"
        turn.record(e.StepResultDiscarded(branch.id, step.id, step.attempt, reason, step.worker, step.usage))
    turn.record(e.BranchCompleted(branch.id, branch.agent, value, None))


def _goes_home(state: RunState, branch: Branch, target: str) -> bool:
    """Whether an orphan would leave what it has for itself."""
    if branch.homes is None:
        return False
    return target == END or target in branch.homes or target in state.graph.convergence


def move_to(turn: Turn, branch: Branch, target: str, value: JSON) -> None:
    """Invoke one agent: deliver, ask, return to a waiting ancestor, park, or go on there."""
    state, agent = turn.state, branch.agent
    returning = _waiting_ancestor(state, branch, target)
    if returning is None and _goes_home(state, branch, target):
        _end_unheard(turn, branch, value)
    elif target == END:
        turn.record(e.ResultDelivered(branch.id, branch.order, agent, value))
        turn.record(e.BranchCompleted(branch.id, agent, value, None))
    elif returning is not None:
        turn.record(e.BranchCompleted(branch.id, agent, value, returning.id))
    elif not _said_enough(turn, branch, target, value):
        _go_on(turn, branch, target, value)


def _go_on(turn: Turn, branch: Branch, target: str, value: JSON) -> None:
    graph, agent = turn.state.graph, branch.agent
    if graph.is_user(target):
        ask(turn, branch, as_question(value), "question", graph.answers_to(target, agent), target)
    elif target in graph.convergence:
        turn.record(e.BranchParked(branch.id, target, agent, value))
    else:
        next_step(turn, branch, target, value)


def _said_enough(turn: Turn, branch: Branch, target: str, value: JSON) -> bool:
    """End a conversation that has had its turns: with the last value said, or as failed."""
    rule = turn.state.graph.rules.turns(branch.agent, target)
    said = branch.turns.get("|".join(sorted((branch.agent, target))), 0)
    if rule is None or said < 2 * rule["max_turns"]:
        return False
    reason = f"{branch.agent} <-> {target} reached max_turns = {rule['max_turns']}"
    turn.record(e.RuleApplied(rule["place"], "MaxTurnsRule", rule["on_limit"], reason, branch.id))
    if rule["on_limit"] == "fail":
        turn.record(e.BranchFailed(branch.id, branch.agent, rule_error("MaxTurnsRule", reason)))
    else:
        complete(turn, branch, value)
    return True


def _waiting_ancestor(state: RunState, branch: Branch, agent: str) -> Fork | None:
    """The nearest fork around the branch whose owner waits at `agent`."""
    if agent not in state.waiting and branch.homes is None:
        return None
    return next((f for f in enclosing(state, branch.fork_id) if f.node == agent), None)


def open_fork(
    turn: Turn,
    branch: Branch,
    invocations: list[tuple[str, JSON]],
    dispatched: list[str] | None = None,
    own: dict[str, JSON] | None = None,
    inherit: bool | None = None,
) -> None:
    """Invoke several agents at once and wait for them; `own` is the policy that the reply asks for."""
    state, agent = turn.state, branch.agent
    waiting = _waiting_names(state, branch)
    if branch.homes is not None:
        invocations = [i for i in invocations if i[0] in waiting or not _goes_home(state, branch, i[0])]
        if not invocations:
            _end_unheard(turn, branch, None)
            return
    graph = state.graph
    branches = sum(t != END and (t not in graph.convergence or t in waiting) for t, _ in invocations)
    if too_many_branches(turn, branches):
        return
    number = branch.forks + 1
    fork_id, order = f"{branch.id}.f{number}", [*branch.order, number, 0]
    if all(target == END for target, _ in invocations):
        _deliver_all(turn, branch, order, invocations)
        turn.record(e.BranchMerged(branch.id))
        return
    policy = fork_policy(state, agent, [target for target, _ in invocations], own)
    inherits = bool(state.config.get("inherit_memory")) if inherit is None else inherit
    turn.record(e.ForkOpened(fork_id, branch.id, agent, len(invocations), policy, dispatched, inherit_memory=inherits))
    for i, (target, request) in enumerate(invocations):
        place, token = [*order, i], f"{fork_id}.b{i}"
        if target == END:
            turn.record(e.ResultDelivered(branch.id, place, agent, request))
        elif target in graph.convergence and target not in waiting:
            turn.record(e.ContributionParked(fork_id, token, place, target, agent, request))
        else:
            turn.record(e.BranchSpawned(token, branch.id, fork_id, place, target, request))


def _deliver_all(turn: Turn, branch: Branch, order: list[int], invocations: list[tuple[str, JSON]]) -> None:
    for i, (_, value) in enumerate(invocations):
        turn.record(e.ResultDelivered(branch.id, [*order, i], branch.agent, value))


def open_call(turn: Turn, branch: Branch, call: r.Call) -> None:
    """Start a branch for each agent that is called; whatever becomes of them goes back to the caller."""
    if too_many_branches(turn, len(call.invocations)):
        return
    number = branch.forks + 1
    fork_id, order = f"{branch.id}.f{number}", [*branch.order, number, 0]
    policy = {**turn.state.config["convergence"], "on_insufficient": "proceed", "eager": False, "fail_fast": False}
    policy |= {"timeout": call.timeout, "on_timeout": "proceed", "terminate_orphans": True}
    width, inherits = len(call.invocations), bool(turn.state.config.get("inherit_memory"))
    turn.record(e.ForkOpened(fork_id, branch.id, branch.agent, width, policy, returns=True, inherit_memory=inherits))
    for i, one in enumerate(call.invocations):
        place = [*order, i]
        turn.record(e.BranchSpawned(f"{fork_id}.b{i}", branch.id, fork_id, place, one.agent, one.request))


def _waiting_names(state: RunState, branch: Branch) -> set[str]:
    """Agents at which an ancestor waits, the forking branch itself included."""
    around = {f.node for f in enclosing(state, branch.fork_id) if f.node is not None}
    return around | {branch.agent}
