"""Common Issues: the setting that the document names for each of the four."""

import asyncio

from anabranch import (
    ExecutionConfig,
    MaxBranchesRule,
    MaxParallelBranchesRule,
    MaxTurnsRule,
    Orchestra,
    PatternConfig,
    agent,
    final_response,
    parallel_invoke,
)
from tests.acceptance.telling import told

late = {"nodes": ["Prompt", "Never", "Gatherer"], "edges": ["Prompt -> Gatherer", "Never -> Gatherer"]}
talk = {"nodes": ["Talker", "Listener"], "edges": ["Talker <-> Listener"]}
endless = PatternConfig.hub_and_spoke(hub="Chatter", spokes=["Echo"])
endless.rules = [MaxTurnsRule(max_turns=2)]
wide = {"nodes": ["Exploder", "Spark"], "edges": ["Exploder -> Spark"]}


@agent("Gatherer")
def gatherer(request):
    return [record["result"] for record in request]


@agent("Prompt")
def prompt():
    return "here"


@agent("Never")
async def never(request):
    """Come for those who do not give up soon."""
    if request == "wait long enough":
        return "here too"
    return await asyncio.Event().wait()


@agent("Talker")
def talker(request, memory):
    """Talk until this is the third visit."""
    visits = request["visits"] + 1 if isinstance(request, dict) else 1
    said = {"visits": visits, "remembers": len(memory)}
    return final_response(said) if visits == 3 else said


@agent("Listener")
def listener(request):
    return request


@agent("Chatter")
def chatter(request):
    return f"{request}."


@agent("Echo")
def echo(request):
    return f"{request}!"


@agent("Exploder")
def exploder(request):
    if isinstance(request, list):
        return final_response([record["result"] for record in request])
    return parallel_invoke(invocations=[{"agent": "Spark", "request": i} for i in range(4)])


@agent("Spark")
def spark(request):
    return request


async def convergence_timeout():
    soon, later = await asyncio.gather(
        Orchestra.run(task="wait briefly", topology=late, config=ExecutionConfig(convergence_timeout=3)),
        Orchestra.run(task="wait long enough", topology=late, config=ExecutionConfig(convergence_timeout=300)),
    )
    because = soon.error["message"]
    return {"wait briefly": {**told(soon), "because": because}, "wait long enough": told(later)}


async def memory_overflow():
    result = await Orchestra.run(task="talk", topology=talk, config=ExecutionConfig(max_messages=2))
    return {"talk": told(result)}


async def infinite_loops():
    written = {**talk, "nodes": ["Chatter", "Echo"], "edges": ["Chatter <-> Echo"], "rules": ["max_turns(2)"]}
    ruled, spelt = await asyncio.gather(
        Orchestra.run(task="so", topology=endless), Orchestra.run(task="well", topology=written)
    )
    return {"so": told(ruled), "well": told(spelt)}


async def branch_explosion():
    few = MaxParallelBranchesRule(max_parallel_branches=2).wire()
    none = MaxBranchesRule(max_branches=3).wire()
    calm, ended = await asyncio.gather(
        Orchestra.run(task="two at a time", topology={**wide, "rules": [few]}),
        Orchestra.run(task="three in all", topology={**wide, "rules": [none]}),
    )
    return {"two at a time": told(calm), "three in all": told(ended)}


async def main():
    settings = (convergence_timeout(), memory_overflow(), infinite_loops(), branch_explosion())
    return {task: facts for found in await asyncio.gather(*settings) for task, facts in found.items()}


def _conversation(a, b, result):
    return {
        "status": "completed",
        "result": result,
        "metrics": {"total_steps": 5, "branch_count": 1, "parallel_branches": 1},
        "trace": [f"b0 conversation completed: 1 {a}, 2 {b}, 3 {a}, 4 {b}, 5 {a}"],
    }


PROMISED = {
    "wait briefly": {
        "status": "failed",
        "error": "ConvergenceTimeout",
        "metrics": {"total_steps": 2, "branch_count": 2, "parallel_branches": 2},
        "trace": ["b0 simple cancelled: 1 Prompt", "b1 simple cancelled: 1 Never cancelled"],
        "because": "the run was not there after 3 s",
    },
    "wait long enough": {
        "status": "completed",
        "result": ["here", "here too"],
        "metrics": {"total_steps": 3, "branch_count": 3, "parallel_branches": 2},
        "trace": ["b0 simple merged: 1 Prompt", "b1 simple merged: 1 Never", "c2.1 simple completed: 1 Gatherer"],
    },
    "talk": _conversation("Talker", "Listener", {"visits": 3, "remembers": 2}),
    "so": _conversation("Chatter", "Echo", "so.!.!."),
    "well": _conversation("Chatter", "Echo", "well.!.!."),
    "two at a time": {
        "status": "completed",
        "result": [0, 1, 2, 3],
        "metrics": {"total_steps": 6, "branch_count": 5, "parallel_branches": 2},
        "trace": [
            "b0 nested completed: 1 Exploder, 2 Exploder",
            *(f"b0.f1.b{i} simple completed: 1 Spark" for i in range(4)),
        ],
    },
    "three in all": {
        "status": "failed",
        "error": "MaxBranchesRule",
        "metrics": {"total_steps": 1, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple cancelled: 1 Exploder"],
    },
}
