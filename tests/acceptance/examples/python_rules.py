"""Custom Execution Rules as the document writes them: with a lambda, which only one process can keep."""

import asyncio

from anabranch import ConditionalRule, InvalidTopology, MaxStepsRule, Orchestra, PatternConfig, TimeoutRule
from tests.acceptance.examples import sequential
from tests.acceptance.telling import told

topology = PatternConfig.pipeline(stages=[{"name": n, "agents": [n]} for n in ("A", "B", "C")])
# Add execution constraints
rules = [
    TimeoutRule(max_duration_seconds=300),
    MaxStepsRule(max_steps=100),
    ConditionalRule(condition=lambda ctx: ctx.metadata.get("priority") == "high", action="allow"),
]

topology.rules = rules


async def judged(priority):
    result = await Orchestra.run(task=priority, topology=topology, context={"metadata": {"priority": priority}})
    return told(result)


async def main():
    try:
        high, low = await asyncio.gather(judged("high"), judged("low"))
    except InvalidTopology as error:
        (reason,) = error.errors
        return {"refused": reason.partition(" python:")[0], "mend": reason.partition("; ")[2].partition(",")[0]}
    return {"high": high, "low": low}


PROMISED = {
    "high": {**sequential.PROMISED["by"], "result": "high A B C"},
    "low": {
        "status": "failed",
        "error": "ConditionalRule",
        "metrics": {"total_steps": 0, "branch_count": 1, "parallel_branches": 0},
        "trace": ["b0 simple cancelled: "],
    },
}
PROMISED_DISTRIBUTED = {
    "refused": "rules: the Python condition",
    "mend": "write it in CEL",
}
