"""Agents of other frameworks, recognised by the names of their classes; what is imported is loaded already.

The request and the memory become the framework's messages; texts as they are, other JSON as JSON text.
"""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from anabranch.agents.context import StepContext

JSON = Any
Memory = list[dict[str, JSON]]
Hosted = Callable[[JSON, Memory, StepContext], Awaitable[JSON]]


def hosted(implementation: Any) -> Hosted | None:
    """A coroutine function that runs a foreign agent; None where it is one of ours."""
    if isinstance(implementation, type):
        return None
    for cls in type(implementation).__mro__:
        adapt = KNOWN.get((cls.__module__.split(".")[0], cls.__name__))
        if adapt is not None:
            return adapt(implementation)
    return None


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _messages(request: JSON, memory: Memory) -> Memory:
    """The conversation in the form that most frameworks read."""
    past = [{"role": m["role"], "content": _text(m["content"])} for m in memory]
    return [*past, {"role": "user", "content": _text(request)}]


def _count(ctx: StepContext, usage: Any) -> None:
    """Take over token counts, given as attributes or as keys."""
    names = ("input_tokens", "output_tokens")
    counts = [usage.get(n) if isinstance(usage, dict) else getattr(usage, n, None) for n in names]
    if any(count is not None for count in counts):
        ctx.report_usage(*counts)


def _pydantic_ai(agent: Any) -> Hosted:
    async def run(request: JSON, memory: Memory, ctx: StepContext) -> JSON:
        result = await agent.run(_text(request), message_history=_pydantic_ai_history(memory))
        usage = result.usage  # a method in older versions
        _count(ctx, usage if hasattr(usage, "input_tokens") else usage())
        return result.output

    return run


def _pydantic_ai_history(memory: Memory) -> list[Any] | None:
    m = importlib.import_module("pydantic_ai.messages")
    asked = {"user": m.UserPromptPart, "system": m.SystemPromptPart}
    return [
        m.ModelRequest(parts=[asked[one["role"]](content=_text(one["content"]))])
        if one["role"] in asked
        else m.ModelResponse(parts=[m.TextPart(content=_text(one["content"]))])
        for one in memory
    ] or None


def _openai_agents(agent: Any) -> Hosted:
    async def run(request: JSON, memory: Memory, ctx: StepContext) -> JSON:
        framework = importlib.import_module("agents")
        config = framework.RunConfig(tracing_disabled=True)
        result = await framework.Runner.run(agent, _messages(request, memory), run_config=config)
        _count(ctx, result.context_wrapper.usage)
        return result.final_output

    return run


def _langchain(agent: Any) -> Hosted:
    """A model takes the conversation; any other runnable the request as it is."""

    async def run(request: JSON, memory: Memory, ctx: StepContext) -> JSON:
        is_model = any(cls.__name__ == "BaseLanguageModel" for cls in type(agent).__mro__)
        answer = await agent.ainvoke(_messages(request, memory) if is_model else request)
        _count(ctx, getattr(answer, "usage_metadata", None))
        return getattr(answer, "content", answer)

    return run


def _langgraph(graph: Any) -> Hosted:
    """A text goes in as the last message of the conversation, an object as the graph's own state."""

    async def run(request: JSON, memory: Memory, ctx: StepContext) -> JSON:
        if isinstance(request, dict):
            return await graph.ainvoke(request)
        state = await graph.ainvoke({"messages": _messages(request, memory)})
        last = (state.get("messages") or [None])[-1]
        return getattr(last, "content", state)

    return run


KNOWN: dict[tuple[str, str], Callable[[Any], Hosted]] = {
    ("pydantic_ai", "AbstractAgent"): _pydantic_ai,
    ("pydantic_ai", "Agent"): _pydantic_ai,
    ("agents", "Agent"): _openai_agents,
    ("langgraph", "Pregel"): _langgraph,
    ("langchain_core", "Runnable"): _langchain,
}
