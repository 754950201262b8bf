"""What a run came to, as facts that can be compared from one play to the next; its times stand apart."""

from typing import Any

from anabranch import OrchestraResult

JSON = Any
COUNTED = ("total_steps", "branch_count", "parallel_branches")
OUTCOME = ("status", "result", "error", "metrics", "trace")
TIMES = "seconds"


def told(result: OrchestraResult) -> dict[str, JSON]:
    """Outcome, metrics and trace; a branch reads `id type status: 1 Agent, 2 Agent`."""
    facts: dict[str, JSON] = {"status": result.status}
    if result.success:
        facts["result"] = result.final_response
    elif result.error is not None:
        facts["error"] = result.error["type"]
    return {
        **facts,
        "metrics": {name: result.metrics[name] for name in COUNTED},
        "trace": [_branch(branch) for branch in result.branch_results],
        TIMES: _times(result),
    }


def _branch(branch: Any) -> str:
    return f"{branch.branch_id} {branch.type} {branch.status}: {', '.join(map(_step, branch.execution_trace))}"


def _step(step: Any) -> str:
    said = f"{step.step_number} {step.agent_name}"
    return said if step.status == "completed" else f"{said} {step.status}"


def _times(result: OrchestraResult) -> dict[str, JSON]:
    return {
        "total_duration": result.total_duration,
        "convergence_wait_time": result.convergence_wait_time,
        "steps": {s.step_id: s.duration for b in result.branch_results for s in b.execution_trace},
    }


def without_times(facts: JSON) -> JSON:
    """The facts that are the same in every play."""
    if isinstance(facts, dict):
        return {key: without_times(value) for key, value in facts.items() if key != TIMES}
    return [without_times(value) for value in facts] if isinstance(facts, list) else facts
