"""Retry Logic: a reply that cannot be followed comes back with guidance, at most `max_retries` times."""

import asyncio

from anabranch import ExecutionConfig, Orchestra, agent
from tests.acceptance.telling import told

AGAIN = {"next_action": "invoke_agent", "action_input": "Nobody"}


@agent("Careless")
def careless(request, steering, ctx):
    """Read the guidance when there is some."""
    if steering is None:
        return AGAIN
    return {"next_action": "invoke_agent", "action_input": "Helper", "request": [steering, ctx.attempt]}


@agent("Stubborn")
def stubborn():
    return AGAIN


@agent("Helper")
def helper(request):
    return request


async def steered(name):
    config = ExecutionConfig(max_steering=3)
    topology = {"nodes": [name, "Helper"], "edges": [f"{name} -> Helper"]}
    handle = await Orchestra.submit(task=f"steer {name}", topology=topology, config=config)
    attempts = [e["data"]["attempt"] async for e in handle.events() if e["type"] == "StepRejected"]
    return {**told(await handle.result()), "rejected attempts": attempts}


async def main():
    careless, stubborn = await asyncio.gather(steered("Careless"), steered("Stubborn"))
    return {"steer Careless": careless, "steer Stubborn": stubborn}


PROMISED = {
    "steer Careless": {
        "status": "completed",
        "result": ["Careless may not invoke Nobody. Careless may invoke: Helper.", 2],
        "metrics": {"total_steps": 2, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple completed: 1 Careless, 2 Helper"],
        "rejected attempts": [1],
    },
    "steer Stubborn": {
        "status": "failed",
        "error": "ForkFailed",
        "metrics": {"total_steps": 1, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple failed: 1 Stubborn failed"],
        "rejected attempts": [1, 2, 3, 4],
    },
}
