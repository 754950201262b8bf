"""Custom Execution Rules, in the form that crosses a wire."""

import asyncio

from anabranch import ConditionalRule, MaxStepsRule, Orchestra, PatternConfig, TimeoutRule, agent
from tests.acceptance.telling import told

topology = PatternConfig.ring(["Ping", "Pong"])
# Add execution constraints
rules = [
    TimeoutRule(max_duration_seconds=300),
    MaxStepsRule(max_steps=5),
    ConditionalRule(condition='context.metadata.priority == "high"', action="allow"),
]

topology.rules = rules
short = PatternConfig.pipeline(stages=[{"name": "wait", "agents": ["Sleeper"]}])
short.rules = [TimeoutRule(max_duration_seconds=2)]


@agent("Ping")
def ping(request):
    return "pong"


@agent("Pong")
def pong(request):
    return "ping"


@agent("Sleeper")
async def sleeper():
    """Wait until the run is over and this step is stopped."""
    await asyncio.Event().wait()


async def judged(task, topology, priority="high"):
    result = await Orchestra.run(task=task, topology=topology, context={"metadata": {"priority": priority}})
    return {**told(result), "because": result.error["message"]}


async def main():
    steps, allowed, seconds = await asyncio.gather(
        judged("too many steps", topology), judged("not allowed", topology, "low"), judged("too long", short)
    )
    return {"too many steps": steps, "not allowed": allowed, "too long": seconds}


PROMISED = {
    "too many steps": {
        "status": "failed",
        "error": "MaxStepsRule",
        "metrics": {"total_steps": 5, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple cancelled: 1 Ping, 2 Pong, 3 Ping, 4 Pong, 5 Ping"],
        "because": "the run reached max_steps = 5",
    },
    "not allowed": {
        "status": "failed",
        "error": "ConditionalRule",
        "metrics": {"total_steps": 0, "branch_count": 1, "parallel_branches": 0},
        "trace": ["b0 simple cancelled: "],
        "because": 'not allowed at Ping: context.metadata.priority == "high"',
    },
    "too long": {
        "status": "failed",
        "error": "TimeoutRule",
        "metrics": {"total_steps": 1, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple cancelled: 1 Sleeper cancelled"],
        "because": "the run took longer than 2 s",
    },
}
