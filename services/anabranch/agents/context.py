"""What an agent is told about its step, beyond the request, when it names the parameter `ctx`."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from anabranch_contracts.messages import StepRequested, Usage

JSON = Any


@dataclass(slots=True)
class StepContext:
    """The step an agent works on; `deadline` is ISO 8601."""

    run_id: UUID
    branch_id: str
    step_id: str
    step_number: int
    attempt: int
    agent: str
    deadline: str | None
    steering: str | None
    can_invoke: list[str]
    context: dict[str, JSON]
    usage: Usage | None = field(default=None)

    @classmethod
    def of(cls, step: StepRequested) -> "StepContext":
        """The context of one attempt."""
        return cls(
            run_id=step.run_id,
            branch_id=step.branch_id,
            step_id=step.step_id,
            step_number=step.step_number,
            attempt=step.attempt,
            agent=step.agent,
            deadline=step.deadline,
            steering=step.steering,
            can_invoke=step.can_invoke,
            context=step.context,
        )

    def report_usage(
        self, input_tokens: int | None = None, output_tokens: int | None = None, cost: float | None = None
    ) -> None:
        """Say what the invocation consumed; it is stored with the step and counts against budgets."""
        self.usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)
