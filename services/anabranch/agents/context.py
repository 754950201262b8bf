"""What an agent is told about its step, beyond the request, when it names the parameter `ctx`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from anabranch.agents.calls import Calls, values
from anabranch_contracts.messages import StepRequested, Usage
from anabranch_contracts.reply_builders import paired

JSON = Any


@dataclass(slots=True)
class StepContext:
    """The step an agent works on; `deadline` is ISO 8601.

    `await ctx.invoke_agent(...)`, `ctx.parallel_invoke(...)` and `ctx.ask_user(...)` are durable calls.
    """

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
    calls: Calls = field(default_factory=lambda: Calls(()))

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
            calls=Calls(step.calls),
        )

    async def invoke_agent(self, agent: str, request: JSON = None, timeout: float | None = None) -> JSON:
        """The agent's answer; raises `InvocationFailed`. `timeout` in seconds."""
        found = values(await self.calls.invoke([{"agent": agent, "request": request}], timeout), False)
        return found[0] if len(found) == 1 else found

    async def parallel_invoke(
        self,
        agents: Sequence[str] = (),
        tasks: Sequence[JSON] = (),
        invocations: Sequence[dict[str, JSON]] | None = None,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> list[JSON]:
        """The answers in the order of the tasks; agents take turns where there are more tasks than agents.

        Raises `InvocationFailed`, unless failures are wanted in their places.
        """
        calls = [dict(i) for i in invocations] if invocations is not None else paired(agents, tasks)
        return values(await self.calls.invoke(calls, timeout), return_exceptions)

    async def ask_user(
        self,
        prompt: JSON,
        choices: Sequence[JSON] | None = None,
        schema: JSON = None,
        timeout: float | None = None,
        default: JSON = None,
    ) -> JSON:
        """A person's answer; `default` after `timeout` seconds."""
        parts = {"choices": choices, "schema": schema, "timeout": timeout, "default": default}
        return await self.calls.ask({"prompt": prompt, **{k: v for k, v in parts.items() if v is not None}})

    async def perform(self, action: dict[str, JSON]) -> JSON:
        """An awaited action of the package (`await invoke_agent(...)`) as a call."""
        match action["next_action"]:
            case "invoke_agent":
                target = action["action_input"]
                return await self.invoke_agent(target["agent"], target["request"])
            case "ask_user":
                return await self.calls.ask({k: v for k, v in action.items() if k != "next_action"})
            case _:
                requests = action.get("agent_requests", {})
                named = [{"agent": a, "request": requests.get(a)} for a in action.get("agents", ())]
                return await self.parallel_invoke(invocations=action.get("invocations", named))

    def report_usage(
        self, input_tokens: int | None = None, output_tokens: int | None = None, cost: float | None = None
    ) -> None:
        """Say what the invocation consumed; it is stored with the step and counts against budgets."""
        self.usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)
