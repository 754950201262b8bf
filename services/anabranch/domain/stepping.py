"""Ask for steps: admission, the bounds that keep every run finite, and the rules that speak before a step."""

from typing import Any

from anabranch.domain.conditions import about_branch, facts_of, holds, known
from anabranch.domain.rules import COST_UNIT, Condition, least
from anabranch.domain.state import Branch, RunState
from anabranch.domain.turn import Turn
from anabranch_contracts.events import (
    BranchFailed,
    BranchHeld,
    RuleApplied,
    RuleLifted,
    RunFailed,
    RunPaused,
    StepRequested,
    UserInputRequested,
)

JSON = Any


def next_step(turn: Turn, branch: Branch, agent: str, request: JSON) -> None:
    """Request the branch's next step at `agent`; it waits where the run is paused or full."""
    if turn.state.paused or not admits(turn.state, branch):
        turn.record(BranchHeld(branch.id, agent, request))
    else:
        request_step(turn, branch, agent, request)


def admits(state: RunState, branch: Branch) -> bool:
    """Whether a branch that does not run may start to."""
    most = least(state.graph.rules.parallel, state.config.get("max_in_flight"))  # runs of an earlier release have none
    return branch.status == "running" or most is None or state.running < most


def request_step(turn: Turn, branch: Branch, agent: str, request: JSON) -> None:
    """Request the step, or end what would run without end or against a rule."""
    state, number = turn.state, branch.steps + 1
    steps = least(state.config["max_steps"], state.graph.rules.steps)
    if number > state.config["max_branch_steps"]:  # first, for it depends on no other branch
        limit = state.config["max_branch_steps"]
        error = rule_error("MaxBranchSteps", f"the branch reached max_branch_steps = {limit}")
        turn.record(BranchFailed(branch.id, agent, error))  # there, whether it had to wait for admission or not
    elif steps is not None and state.total_steps >= steps:
        end_by_rule(turn, "MaxStepsRule", f"the run reached max_steps = {steps:g}", steps)
    elif _permitted(turn, branch, agent, number, request):
        turn.record(StepRequested(branch.id, f"{branch.id}#{number}", number, 1, agent, request))


def rule_error(rule: str, message: str) -> dict[str, JSON]:
    """The error of what a rule ended."""
    return {"kind": "rule", "type": rule, "message": message}


def end_by_rule(turn: Turn, rule: str, message: str, bound: float) -> None:
    """A bound of the run, or its default, ends it as failed."""
    turn.record(RuleApplied(turn.state.graph.rules.place(rule, bound), rule, "terminate", message))
    turn.record(RunFailed(rule_error(rule, message)))


def over_budget(turn: Turn) -> bool:
    """End a run that has consumed more than its budget."""
    state, rules = turn.state, turn.state.graph.rules
    if rules.tokens is not None and state.tokens_used > rules.tokens:
        said = f"{state.tokens_used} tokens were used, max_tokens = {rules.tokens}"
        end_by_rule(turn, "BudgetRule", said, rules.tokens)
    elif rules.cost is not None and state.cost > round(rules.cost * COST_UNIT):
        said = f"{state.cost / COST_UNIT:g} was spent, max_cost = {rules.cost:g}"
        end_by_rule(turn, "BudgetRule", said, rules.cost)
    return state.terminal


def too_many_branches(turn: Turn, more: int) -> bool:
    """End a run that would have more branches than it may, or than it may take steps."""
    wanted, most = turn.state.branch_count + more, turn.state.graph.rules.branches
    steps = turn.state.config["max_steps"]
    if most is not None and wanted > most:
        end_by_rule(turn, "MaxBranchesRule", f"the run would have more than max_branches = {most}", most)
    elif wanted > steps:
        end_by_rule(turn, "MaxStepsRule", f"the run would have {wanted} branches, more than max_steps = {steps}", steps)
    return turn.state.terminal


def _permitted(turn: Turn, branch: Branch, agent: str, number: int, request: JSON) -> bool:
    """Whether every conditional rule lets the step start."""
    step = {"number": number, "agent": agent, "request": request}
    for rule in turn.state.graph.rules.conditions:
        if not known(rule.expression):
            _hold(turn, branch, agent, request, f"{rule.expression} is not known here; make the rule, then resume")
            return False
        true = holds(rule.expression, facts_of(turn.state, branch, step, {}))
        if not _obeyed(turn, branch, rule, agent, request, true):
            return False
    return True


def _obeyed(turn: Turn, branch: Branch, rule: Condition, agent: str, request: JSON, true: bool) -> bool:
    """Carry a verdict out; whether the step may start in spite of it.

    `pause` and `notify_user` speak when their condition becomes true, and again after it has been false: for each
    branch and what it begets, where the condition is about branch, step or context, else for the run.
    """
    reason, local = f"{rule.action} at {agent}: {rule.expression[:500]}", about_branch(rule.expression)
    applied = branch.spoken if local else turn.state.applied
    if not true and rule.place in applied:
        turn.record(RuleLifted(rule.place, branch.id if local else None))
    match rule.action:
        case "allow" if not true:
            _end_by_condition(turn, branch, rule, f"not allowed {reason[6:]}")
        case "block" | "terminate" if true:
            _end_by_condition(turn, branch, rule, reason)
        case "pause" if true and rule.place not in applied and rule.place not in branch.passes:
            turn.record(RuleApplied(rule.place, "ConditionalRule", rule.action, reason, branch.id, local))
            _hold(turn, branch, agent, request, reason)
        case "notify_user" if true and rule.place not in applied:
            _notify(turn, branch, rule, reason, local)
            return True
        case _:
            return True
    return False


def _hold(turn: Turn, branch: Branch, agent: str, request: JSON, reason: str) -> None:
    turn.record(RunPaused(reason))
    turn.record(BranchHeld(branch.id, agent, request))


def _end_by_condition(turn: Turn, branch: Branch, rule: Condition, reason: str) -> None:
    turn.record(RuleApplied(rule.place, "ConditionalRule", rule.action, reason, branch.id))
    turn.record(RunFailed(rule_error("ConditionalRule", reason)))


def _notify(turn: Turn, branch: Branch, rule: Condition, reason: str, local: bool) -> None:
    """Tell a person; nothing waits for it."""
    turn.record(RuleApplied(rule.place, "ConditionalRule", rule.action, reason, branch.id, local))
    identity = turn.identity(f"notice/{rule.place}/{branch.id}#{branch.steps + 1}")
    turn.record(UserInputRequested(identity, branch.id, branch.agent, "notice", reason))


def again(turn: Turn, branch: Branch, steering: str | None = None) -> None:
    """Request the next attempt of the branch's current step; what it was steered by before still holds."""
    step = branch.step
    assert step is not None
    steering = step.steering if steering is None else steering
    attempt = step.attempt if step.due_at is not None else step.attempt + 1
    turn.record(StepRequested(branch.id, step.id, step.number, attempt, step.agent, step.request, steering))
