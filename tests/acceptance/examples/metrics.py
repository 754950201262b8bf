"""Execution Metrics, with the right numbers."""

import asyncio

from anabranch import Orchestra, agent, parallel_invoke
from tests.acceptance.telling import told

topology = {
    "nodes": ["Starter", "Fast", "Slow", {"name": "Finish", "is_convergence_point": True}],
    "edges": ["Starter -> Fast", "Starter -> Slow", "Fast -> Finish", "Slow -> Finish"],
}
FAST, SLOW = 0.1, 0.6  # seconds


@agent("Starter")
def starter(request):
    return parallel_invoke(agents=["Fast", "Slow"])


@agent("Fast")
async def fast():
    await asyncio.sleep(FAST)


@agent("Slow")
async def slow():
    await asyncio.sleep(SLOW)


@agent("Finish")
def finish():
    return "measured"


async def main():
    result = await Orchestra.run(task="measure", topology=topology)
    metrics = {
        "total_steps": 0,
        "branch_count": 0,
        "parallel_branches": 0,
        "convergence_wait_time": 0,
        "total_duration": 0,
    }
    return {
        "measure": told(result),
        "as many": sorted(result.metrics) == sorted(metrics),
        # Available in OrchestraResult
        "result": [result.total_steps, result.total_duration > 0, len(result.branch_results)],
    }


PROMISED = {
    "measure": {
        "status": "completed",
        "result": "measured",
        "metrics": {"total_steps": 4, "branch_count": 3, "parallel_branches": 2},
        "trace": [
            "b0 nested completed: 1 Starter, 2 Finish",
            "b0.f1.b0 simple merged: 1 Fast",
            "b0.f1.b1 simple merged: 1 Slow",
        ],
    },
    "as many": True,
    "result": [4, True, 3],
}
