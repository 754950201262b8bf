"""Agents that do what their run says: its `context["script"]` tells each of them what to answer.

    {"A": [first visit, second visit], "W@b0.f1.b2": [the visits of branch b0.f1.b2 alone]}

A visit is the n-th time that a branch comes to an agent, counted by what the agent remembers there; the last
entry serves every later one, and an agent without entries answers with its name. An entry is an instruction, or
a list of them, one an attempt (again the last serves every later one). An instruction is one of

    {"raise": "RateLimited", "message"?, ...}   an exception of that class, with these attributes
    {"wait_for": "never"}                       waits until the step is stopped
    {"wait_for": "gate"}                        tells the gate (gate.py) that it has begun, does what that says
    {"usage": {"input_tokens": 3}, "then": i}   reports what it consumed, then follows the instruction i
    {"reply": anything}                         answers this, whatever it looks like

and anything else is the answer itself. In an answer the texts `$request`, `$memory`, `$context`, `$steering`,
`$can_invoke`, `$attempt`, `$step_number` and `$branch_id` stand for what the agent was given.
"""

import asyncio
import builtins
import json
from typing import Any

import anabranch
from anabranch import agent

JSON = Any
NAMES = ("A", "B", "C", "D", "Boss", "Mid", "W1", "W2", "W3", "W4", "Meet")


async def follow(request: JSON, *, memory: JSON, context: JSON, steering: JSON, ctx: Any) -> JSON:
    """Be whichever agent the step is for."""
    given = {
        "$request": request,
        "$memory": memory,
        "$context": context,
        "$steering": steering,
        "$can_invoke": ctx.can_invoke,
        "$attempt": ctx.attempt,
        "$step_number": ctx.step_number,
        "$branch_id": ctx.branch_id,
    }
    return _filled(await _done(_instruction(memory, context, ctx), ctx), given)


def _instruction(memory: JSON, context: JSON, ctx: Any) -> JSON:
    """What the script says for this agent, visit and attempt."""
    script = context.get("script", {})
    visits = script.get(f"{ctx.agent}@{ctx.branch_id}", script.get(ctx.agent, [ctx.agent]))
    entry = _nth(visits, 1 + sum(message["role"] == "assistant" for message in memory))
    return _nth(entry, ctx.attempt) if isinstance(entry, list) else entry


def _nth(items: list[JSON], number: int) -> JSON:
    return items[min(number, len(items)) - 1]


async def _done(instruction: JSON, ctx: Any) -> JSON:
    """Follow an instruction to its answer."""
    match instruction:
        case {"raise": name, **attributes}:
            raise _error(name, attributes)
        case {"wait_for": "never"}:
            return await asyncio.Event().wait()
        case {"wait_for": "gate"}:
            return await _done(await _told(ctx), ctx)
        case {"usage": usage, "then": instruction}:
            ctx.report_usage(**usage)
            return await _done(instruction, ctx)
        case {"reply": reply}:
            return reply
        case _:
            return instruction


def _error(name: str, attributes: dict[str, JSON]) -> BaseException:
    """An exception of ours or of Python by that name, else one of a class made for it."""
    kind = getattr(anabranch, name, None) or getattr(builtins, name, None) or type(name, (Exception,), {})
    error: BaseException = kind(attributes.pop("message", "as the script says"))
    error.__dict__.update(attributes)
    return error


async def _told(ctx: Any) -> JSON:
    """What the gate says when it opens; one that is gone lets nobody through."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ctx.context["gate"])
    try:
        place = {"run_id": str(ctx.run_id), "agent": ctx.agent, "step_id": ctx.step_id, "attempt": ctx.attempt}
        writer.write(json.dumps(place).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    return json.loads(line) if line else {"wait_for": "never"}


def _filled(reply: JSON, given: dict[str, JSON]) -> JSON:
    """The reply with what was given in the places of its names."""
    if isinstance(reply, dict):
        return {key: _filled(value, given) for key, value in reply.items()}
    if isinstance(reply, list):
        return [_filled(value, given) for value in reply]
    return given.get(reply, reply) if isinstance(reply, str) else reply


for name in NAMES:
    agent(name)(follow)
