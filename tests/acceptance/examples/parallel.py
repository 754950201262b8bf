"""Parallel Pattern."""

from anabranch import Orchestra, PatternConfig, agent
from tests.acceptance.telling import told

topology = PatternConfig.hub_and_spoke(hub="Coordinator", spokes=["W1", "W2", "W3"], parallel_spokes=True)
# Execution: Coordinator → (W1 || W2 || W3) → Coordinator


@agent("Coordinator")
def coordinator(request):
    """Hand the task to every spoke; resumed, deliver what they said."""
    return [record["result"] for record in request] if isinstance(request, list) else request


@agent("W1")
class First:
    async def run(self, prompt, memory=None, context=None):
        return f"one of {prompt}"


@agent("W2")
def second(request):
    return f"two of {request}"


@agent("W3")
async def third(request):
    return f"three of {request}"


TRACE = [
    "b0 nested completed: 1 Coordinator, 2 Coordinator",
    "b0.f1.b0 simple completed: 1 W1",
    "b0.f1.b1 simple completed: 1 W2",
    "b0.f1.b2 simple completed: 1 W3",
]


async def main():
    return {"a book": told(await Orchestra.run(task="a book", topology=topology))}


PROMISED = {
    "a book": {
        "status": "completed",
        "result": ["one of a book", "two of a book", "three of a book"],
        "metrics": {"total_steps": 5, "branch_count": 4, "parallel_branches": 3},
        "trace": TRACE,
    }
}
