"""What a run came to, as the seed document shows it."""

from dataclasses import dataclass, field
from typing import Any

JSON = Any


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step; `duration` in seconds, None while it runs."""

    step_id: str
    step_number: int
    agent_name: str
    status: str
    duration: float | None
    response: JSON = None


@dataclass(frozen=True, slots=True)
class BranchResult:
    """One branch with its steps in order."""

    branch_id: str
    agent: str
    type: str
    status: str
    result: JSON = None
    error: JSON = None
    execution_trace: list[StepTrace] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OrchestraResult:
    """The outcome of a run; durations in seconds."""

    run_id: str
    status: str
    final_response: JSON = None
    error: JSON = None
    result_count: int = 0
    total_steps: int = 0
    total_duration: float | None = None
    branch_count: int = 0
    parallel_branches: int = 0
    convergence_wait_time: float = 0.0
    branch_results: list[BranchResult] = field(default_factory=list)

    @property
    def success(self) -> bool:
        """Whether the run completed."""
        return self.status == "completed"

    @property
    def metrics(self) -> dict[str, JSON]:
        """The seed's execution metrics."""
        names = ("total_steps", "branch_count", "parallel_branches", "convergence_wait_time", "total_duration")
        return {name: getattr(self, name) for name in names}


def from_message(body: dict[str, JSON], branches: list[BranchResult]) -> OrchestraResult:
    """The result that a terminal message tells, with the branches that were looked up for it."""
    return OrchestraResult(
        run_id=body["run_id"],
        status=body["status"],
        final_response=body.get("result"),
        error=body.get("error"),
        result_count=body.get("result_count", 0),
        branch_results=branches,
        **body["metrics"],
    )


def branch_results(branches: list[dict[str, JSON]], steps: list[dict[str, JSON]]) -> list[BranchResult]:
    """Rows of `branches` and `steps` as traces."""
    traces: dict[str, list[StepTrace]] = {}
    for s in sorted(steps, key=lambda row: row["step_number"]):
        trace = StepTrace(s["step_id"], s["step_number"], s["agent"], s["status"], s["duration"], s["response"])
        traces.setdefault(s["branch_id"], []).append(trace)
    return [
        BranchResult(
            b["branch_id"], b["agent"], b["type"], b["status"], b["result"], b["error"], traces.get(b["branch_id"], [])
        )
        for b in branches
    ]
