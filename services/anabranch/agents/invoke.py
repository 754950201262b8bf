"""Call an agent with what it asks for by name, and read what comes back."""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from anabranch_contracts.messages import StepRequested

from anabranch.agents.hosting import hosted

JSON = Any
OFFERED = ("memory", "context", "steering", "can_invoke", "step")


def offered(step: StepRequested) -> dict[str, JSON]:
    """What an agent may name as a parameter, besides the request."""
    return {
        "memory": step.memory,
        "context": step.context,
        "steering": step.steering,
        "can_invoke": step.can_invoke,
        "step": step,
    }


def _arguments(function: Callable[..., Any], step: StepRequested) -> tuple[list[JSON], dict[str, JSON]]:
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    values = offered(step)
    if step.steering and "steering" not in names:
        values["memory"] = [*step.memory, {"role": "system", "content": step.steering}]
    keywords = {k: v for k, v in values.items() if k in names or (anything and k in ("memory", "context"))}
    takes_request = any(p.name not in OFFERED and p.kind in (0, 1, 2) for p in parameters)
    return ([step.request] if takes_request else []), keywords


async def invoke(agent: Any, step: StepRequested, executor: Executor | None = None) -> JSON:
    """The agent's reply; sync functions run in a thread, of an async generator the last item counts."""
    function = hosted(agent) or (agent if inspect.isroutine(agent) else getattr(agent, "run", agent))
    positional, keywords = _arguments(function, step)
    if inspect.iscoroutinefunction(function):
        return await function(*positional, **keywords)
    if inspect.isasyncgenfunction(function):
        last: JSON = None
        async for item in function(*positional, **keywords):
            last = item
        return last
    loop = asyncio.get_running_loop()
    result = await loop.run_in_executor(executor, lambda: function(*positional, **keywords))
    return await result if inspect.isawaitable(result) else result
