"""Dynamic Branching: the reply that triggers parallel execution, and what it creates."""

from anabranch import Orchestra, agent
from tests.acceptance.telling import told

topology = {
    "nodes": ["Spawner", "Worker1", "Worker2", "Worker3"],
    "edges": ["Spawner <-> Worker1", "Spawner <-> Worker2", "Spawner <-> Worker3"],
    "entry": "Spawner",
}


@agent("Spawner")
def spawner(request):
    if isinstance(request, list):
        return {"next_action": "final_response", "final_response": request}
    # Agent response triggers parallel execution
    return {
        "next_action": "parallel_invoke",
        "agents": ["Worker1", "Worker2", "Worker3"],
        "agent_requests": {
            "Worker1": "Process segment A",
            "Worker2": "Process segment B",
            "Worker3": "Process segment C",
        },
    }


@agent("Worker1")
def worker1(request):
    return f"1 did: {request}"


@agent("Worker2")
def worker2(request):
    return f"2 did: {request}"


@agent("Worker3")
def worker3(request):
    return f"3 did: {request}"


async def main():
    handle = await Orchestra.submit(task="process the segments", topology=topology)
    events = [event async for event in handle.events()]
    parent = [event["type"] for event in events if event["data"].get("branch_id") == "b0"]
    return {
        "process the segments": told(await handle.result()),
        "run": [events[0]["type"], events[-1]["type"]],
        "parent": parent,
    }


PROMISED = {
    "process the segments": {
        "status": "completed",
        "result": [
            {"agent": f"Worker{i + 1}", "branch_id": f"b0.f1.b{i}", "status": "completed", "result": text}
            for i, text in enumerate(
                ["1 did: Process segment A", "2 did: Process segment B", "3 did: Process segment C"]
            )
        ],
        "metrics": {"total_steps": 5, "branch_count": 4, "parallel_branches": 3},
        "trace": [
            "b0 nested completed: 1 Spawner, 2 Spawner",
            "b0.f1.b0 simple completed: 1 Worker1",
            "b0.f1.b1 simple completed: 1 Worker2",
            "b0.f1.b2 simple completed: 1 Worker3",
        ],
    },
    "run": ["RunStarted", "RunCompleted"],
    "parent": [
        "BranchSpawned",
        "StepRequested",
        "StepCompleted",
        "ForkOpened",
        "ForkSettled",
        "StepRequested",
        "StepCompleted",
        "BranchCompleted",
    ],
}
