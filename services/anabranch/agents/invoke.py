"""Call an agent with what it asks for by name, and read what comes back."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anabranch.agents.context import StepContext
from anabranch.agents.registry import Agent
from anabranch.agents.threads import in_thread
from anabranch_contracts.messages import StepRequested, Usage
from anabranch_contracts.reply_builders import CALLER, Action

JSON = Any


class AgentBroken(Exception):
    """The agent raised what is no `Exception`."""


class AgentExited(Exception):
    """The agent called `exit()`, which ends its step and not the worker."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent replied, and what it says that cost."""

    reply: Any
    usage: Usage | None = None


async def invoke(agent: Agent, step: StepRequested, ctx: StepContext | None = None) -> Answer:
    """Run one attempt: sync functions in a thread; of an async generator the last item is the reply.

    An agent that waits for a call of its own is left at that point; the reply asks for the call.
    """
    ctx = ctx or StepContext.of(step)
    positional, named = agent.parameters.fill(step, ctx)
    CALLER.set(ctx.perform)
    try:
        reply = await _call(agent.function, positional, named)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # a suspension may come back wrapped: by a task group, or by the agent itself
        if ctx.calls.waiting is None:
            raise _as_exception(error) from error
        reply = None
    return Answer(reply if ctx.calls.waiting is None else ctx.calls.waiting, ctx.usage)


def _as_exception(error: BaseException) -> Exception:
    """Nothing that an agent raises ends more than its step."""
    if isinstance(error, SystemExit):
        return AgentExited(f"the agent called exit({error.code})")
    return error if isinstance(error, Exception) else AgentBroken(f"{type(error).__name__}: {error}")


async def _call(function: Callable[..., Any], positional: list[JSON], named: dict[str, JSON]) -> Any:
    call = getattr(function, "__call__", function)  # noqa: B004 - an object's own method tells whether it is async
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        return await function(*positional, **named)
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(call):
        return await _last(function(*positional, **named))
    reply = await in_thread(lambda: function(*positional, **named))
    if inspect.isasyncgen(reply):
        return await _last(reply)
    awaited = inspect.isawaitable(reply) and not isinstance(reply, Action)  # an action that is returned is the reply
    return await reply if awaited else reply


async def _last(items: Any) -> Any:
    last = None
    async for item in items:
        last = item
    return last
