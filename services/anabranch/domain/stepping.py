"""Ask for steps, within the bounds that keep every run finite."""

from typing import Any

from anabranch.domain.state import Branch
from anabranch.domain.turn import Turn
from anabranch_contracts.events import BranchFailed, RunFailed, StepRequested

JSON = Any


def next_step(turn: Turn, branch: Branch, agent: str, request: JSON) -> None:
    """Request the branch's next step at `agent`, or end what would run without end."""
    state, number = turn.state, branch.steps + 1
    if state.total_steps >= state.config["max_steps"]:
        turn.record(RunFailed(_limit("MaxStepsRule", f"the run reached max_steps = {state.config['max_steps']}")))
    elif number > state.config["max_branch_steps"]:
        limit = state.config["max_branch_steps"]
        error = _limit("MaxBranchSteps", f"the branch reached max_branch_steps = {limit}")
        turn.record(BranchFailed(branch.id, branch.agent, error))
    else:
        turn.record(StepRequested(branch.id, f"{branch.id}#{number}", number, 1, agent, request))


def _limit(rule: str, message: str) -> dict[str, JSON]:
    return {"kind": "rule", "type": rule, "message": message}


def again(turn: Turn, branch: Branch, steering: str | None = None) -> None:
    """Request the next attempt of the branch's current step."""
    step = branch.step
    assert step is not None
    attempt = step.attempt if step.due_at is not None else step.attempt + 1
    turn.record(StepRequested(branch.id, step.id, step.number, attempt, step.agent, step.request, steering))
