"""Parallel Execution: independent tasks at once, and one after the other."""

import asyncio

from anabranch import Orchestra, agent, final_response, invoke_agent, parallel_invoke
from tests.acceptance.telling import told

tasks = ["analyze_sales", "analyze_costs", "analyze_trends"]
SECONDS = 0.2  # one task


@agent("TaskAgent")
async def task_agent(request):
    await asyncio.sleep(SECONDS)
    return f"{request} done"


async def spawn_parallel_branches(tasks):
    return await parallel_invoke(agents=["TaskAgent"], tasks=tasks)


async def execute_task(task):
    return await invoke_agent("TaskAgent", request=task)


@agent("Good")
async def good():
    # Good: Parallel branches for independent tasks
    parallel_results = await spawn_parallel_branches(tasks)
    return final_response(parallel_results)


@agent("Bad")
async def bad():
    # Bad: Sequential when parallel is possible
    results = []
    for task in tasks:
        results.append(await execute_task(task))  # Slower
    return final_response(results)


async def main():
    good, bad = await asyncio.gather(
        Orchestra.run(task="all at once", topology={"nodes": ["Good", "TaskAgent"], "edges": ["Good -> TaskAgent"]}),
        Orchestra.run(task="one by one", topology={"nodes": ["Bad", "TaskAgent"], "edges": ["Bad -> TaskAgent"]}),
    )
    return {"all at once": told(good), "one by one": told(bad)}


RESULT = ["analyze_sales done", "analyze_costs done", "analyze_trends done"]
PROMISED = {
    "all at once": {
        "status": "completed",
        "result": RESULT,
        "metrics": {"total_steps": 4, "branch_count": 4, "parallel_branches": 3},
        "trace": [
            "b0 nested completed: 1 Good",
            *(f"b0.f1.b{i} simple completed: 1 TaskAgent" for i in range(3)),
        ],
    },
    "one by one": {
        "status": "completed",
        "result": RESULT,
        "metrics": {"total_steps": 4, "branch_count": 4, "parallel_branches": 1},
        "trace": [
            "b0 nested completed: 1 Bad",
            *(f"b0.f{i}.b0 simple completed: 1 TaskAgent" for i in (1, 2, 3)),
        ],
    },
}
