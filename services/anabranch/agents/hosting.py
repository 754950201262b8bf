"""Agents of other frameworks, recognised by the names of their classes; none of them is imported here."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

JSON = Any


def _text(request: JSON) -> str:
    return request if isinstance(request, str) else json.dumps(request, ensure_ascii=False, default=str)


def _pydantic_ai(agent: Any) -> Callable[..., Awaitable[JSON]]:
    async def run(request: JSON) -> JSON:
        return (await agent.run(_text(request))).output

    return run


def _langchain(agent: Any) -> Callable[..., Awaitable[JSON]]:
    async def run(request: JSON) -> JSON:
        answer = await agent.ainvoke(request)
        return getattr(answer, "content", answer)

    return run


KNOWN: dict[tuple[str, str], Callable[[Any], Callable[..., Awaitable[JSON]]]] = {
    ("pydantic_ai", "AbstractAgent"): _pydantic_ai,
    ("pydantic_ai", "Agent"): _pydantic_ai,
    ("langchain_core", "Runnable"): _langchain,
    ("langgraph", "Pregel"): _langchain,
}


def hosted(agent: Any) -> Callable[..., Awaitable[JSON]] | None:
    """A coroutine function that runs a foreign agent; None where it is one of ours."""
    for cls in type(agent).__mro__:
        adapt = KNOWN.get((cls.__module__.split(".")[0], cls.__name__))
        if adapt is not None:
            return adapt(agent)
    return None
