"""The benchmark's agents, for anabranch: what they do is in `agent`, how they hand over is here."""

from itertools import pairwise
from typing import Any

from ops.bench.subjects import agent as work

from anabranch import agent, final_response

JSON = Any
NAMES = [f"N{i}" for i in range(10)]
ONCE = {"nodes": NAMES[:1], "edges": []}
LINE = {"nodes": NAMES, "edges": [f"{a} -> {b}" for a, b in pairwise(NAMES)]}
RING = {  # without memory: what grows is measured in the conversation
    "nodes": [{"name": name, "memory": {"retention": "none"}} for name in NAMES],
    "edges": [*LINE["edges"], f"{NAMES[-1]} -> {NAMES[0]}"],
    "entry": NAMES[0],
}
FAN = {"nodes": ["Hub", "Spoke"], "edges": ["Hub <-> Spoke"], "entry": "Hub"}
TALK = {"nodes": ["Ann", "Bob"], "edges": ["Ann <-> Bob"], "entry": "Ann"}


def line(steps: int) -> JSON:
    """The topology of a chain."""
    return {1: ONCE, len(NAMES): LINE}.get(steps, RING)


async def _step(request: int, context: dict[str, JSON]) -> JSON:
    value = work.step(request)
    return final_response(value) if value == context["last"] else value


for name in NAMES:
    agent(name)(_step)


@agent("Spoke")
async def spoke(request: int) -> int:
    return work.step(request)


@agent("Hub")
async def hub(request: JSON, context: dict[str, JSON]) -> JSON:
    if context["step_number"] == 1:
        asked = [{"agent": "Spoke", "request": one} for one in work.hub(request)]
        return {"next_action": "parallel_invoke", "invocations": asked}
    return final_response(work.join([record["result"] for record in request]))


async def _say(request: str, memory: list[dict[str, JSON]], context: dict[str, JSON]) -> JSON:
    message = work.say(request, [one["content"] for one in memory])
    return final_response(message) if message == context["last"] else message


agent("Ann")(_say)
agent("Bob")(_say)
