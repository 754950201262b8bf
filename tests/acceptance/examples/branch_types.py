"""Branch Execution: the four branch types, and the three flows that are drawn there."""

import asyncio
from enum import Enum

from anabranch import BranchType, Orchestra, agent, ask_user, final_response, parallel_invoke
from tests.acceptance.telling import told

SIMPLE = {"nodes": ["Agent1", "Agent2", "Agent3"], "edges": ["Agent1 -> Agent2", "Agent2 -> Agent3"]}
CONVERSATION = {"nodes": ["Agent1", "Agent2"], "edges": ["Agent1 <-> Agent2"]}
NESTED = {
    "nodes": ["Parent Branch", "Child Branch 1", "Child Branch 2"],
    "edges": ["Parent Branch <-> Child Branch 1", "Parent Branch <-> Child Branch 2"],
    "entry": "Parent Branch",
}
USER_INTERACTION = {"nodes": ["Asker"], "edges": []}


@agent("Agent1")
def agent1(request, memory):
    """Speak first; end a conversation after three turns."""
    said = f"{request} 1"
    return final_response(said) if len(memory) >= 4 else said


@agent("Agent2")
def agent2(request):
    return f"{request} 2"


@agent("Agent3")
def agent3(request):
    return f"{request} 3"


@agent("Parent Branch")
def parent_branch(request):
    """Spawn the children; resumed, sum up what they said."""
    if isinstance(request, list):
        return final_response([record["result"] for record in request])
    return parallel_invoke(agents=["Child Branch 1", "Child Branch 2"], tasks=["first", "second"])


@agent("Child Branch 1")
def child_branch_1(request):
    return f"{request} child"


@agent("Child Branch 2")
def child_branch_2(request):
    return f"{request} child"


@agent("Asker")
def asker(request, memory):
    return ask_user("Go on?", choices=["yes", "no"]) if not memory else final_response(f"the person said {request}")


async def interaction():
    handle = await Orchestra.submit(task="ask a person", topology=USER_INTERACTION)
    async for event in handle.events():
        if event["type"] == "UserInputRequested":
            await handle.respond("yes")
    return await handle.result()


async def main():
    simple, conversation, nested, asked = await asyncio.gather(
        Orchestra.run(task="a flow:", topology=SIMPLE),
        Orchestra.run(task="a talk:", topology=CONVERSATION),
        Orchestra.run(task="a tree", topology=NESTED),
        interaction(),
    )
    return {
        "types": {kind.name: kind.value for kind in BranchType},
        "is an Enum": issubclass(BranchType, Enum),
        "a flow:": told(simple),
        "a talk:": told(conversation),
        "a tree": told(nested),
        "ask a person": told(asked),
    }


PROMISED = {
    "types": {
        "SIMPLE": "simple",
        "CONVERSATION": "conversation",
        "NESTED": "nested",
        "USER_INTERACTION": "user_interaction",
    },
    "is an Enum": True,
    "a flow:": {
        "status": "completed",
        "result": "a flow: 1 2 3",
        "metrics": {"total_steps": 3, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple completed: 1 Agent1, 2 Agent2, 3 Agent3"],
    },
    "a talk:": {
        "status": "completed",
        "result": "a talk: 1 2 1 2 1",
        "metrics": {"total_steps": 5, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 conversation completed: 1 Agent1, 2 Agent2, 3 Agent1, 4 Agent2, 5 Agent1"],
    },
    "a tree": {
        "status": "completed",
        "result": ["first child", "second child"],
        "metrics": {"total_steps": 4, "branch_count": 3, "parallel_branches": 2},
        "trace": [
            "b0 nested completed: 1 Parent Branch, 2 Parent Branch",
            "b0.f1.b0 simple completed: 1 Child Branch 1",
            "b0.f1.b1 simple completed: 1 Child Branch 2",
        ],
    },
    "ask a person": {
        "status": "completed",
        "result": "the person said yes",
        "metrics": {"total_steps": 2, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 user_interaction completed: 1 Asker, 2 Asker"],
    },
}
