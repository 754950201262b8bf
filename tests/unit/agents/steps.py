"""Steps to run agents on."""

from typing import Any
from uuid import UUID

from anabranch.agents.invoke import Answer, invoke
from anabranch.agents.registry import Agent
from anabranch_contracts.messages import StepRequested

RUN = UUID(int=1)


def a_step(request: Any = "hello", **fields: Any) -> StepRequested:
    given = {"run_id": RUN, "branch_id": "0", "step_id": "0#1", "attempt": 1, "step_number": 1, "agent": "A"}
    return StepRequested.model_validate({**given, "request": request, **fields})


async def answer(implementation: Any, request: Any = "hello", **fields: Any) -> Answer:
    return await invoke(Agent("A", implementation), a_step(request, **fields))


async def reply(implementation: Any, request: Any = "hello", **fields: Any) -> Any:
    return (await answer(implementation, request, **fields)).reply
