"""Context Propagation: session, user data and metadata at every step, and what steps add."""

from anabranch import Orchestra, agent
from tests.acceptance.telling import told

topology = {"nodes": ["Opener", "Branches", "Twig1", "Twig2"],
            "edges": ["Opener -> Branches", "Branches <-> Twig1", "Branches <-> Twig2"]}  # fmt: skip

context = {"session_id": "s-2", "user_data": {"name": "Ada"}, "metadata": {"priority": "high"}}


def seen(context):
    """What every step says of the context."""
    # Access session data
    session_id = context["session_id"]
    # Add step-specific data
    context["current_step"] = context["step_number"]
    who = f"{session_id} {context['user_data']['name']} {context['metadata']['priority']}"
    return f"{who}: {context['branch_id']} step {context['current_step']}, {context['found']}"


@agent("Opener")
def opener(context):
    context["found"] = "nothing yet"
    return {
        "next_action": "invoke_agent",
        "action_input": {"agent": "Branches", "request": seen(context)},
        "context_updates": {"found": "a key"},
    }


@agent("Branches")
def branches(request, context):
    """Hand down what was found; what the twigs find stays with them."""
    if isinstance(request, list):
        return {"next_action": "final_response",
                "final_response": [*context["so far"], *(r["result"] for r in request), seen(context)]}  # fmt: skip
    return {
        "next_action": "parallel_invoke",
        "agents": ["Twig1", "Twig2"],
        "context_updates": {"so far": [request, seen(context)]},
    }


@agent("Twig1")
def twig1(context):
    value = seen(context)
    return {"next_action": "final_response", "final_response": value, "context_updates": {"found": "a leaf"}}


@agent("Twig2")
def twig2(context):
    return seen(context)


async def main():
    return {"look around": told(await Orchestra.run(task="look around", topology=topology, context=context))}


PROMISED = {
    "look around": {
        "status": "completed",
        "result": [
            "s-2 Ada high: b0 step 1, nothing yet",
            "s-2 Ada high: b0 step 2, a key",
            "s-2 Ada high: b0.f1.b0 step 1, a key",
            "s-2 Ada high: b0.f1.b1 step 1, a key",
            "s-2 Ada high: b0 step 3, a key",
        ],
        "metrics": {"total_steps": 5, "branch_count": 3, "parallel_branches": 2},
        "trace": [
            "b0 nested completed: 1 Opener, 2 Branches, 3 Branches",
            "b0.f1.b0 simple completed: 1 Twig1",
            "b0.f1.b1 simple completed: 1 Twig2",
        ],
    }
}
