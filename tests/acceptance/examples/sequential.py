"""Sequential Pattern."""

from anabranch import Orchestra, agent
from tests.acceptance.telling import told

topology = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "B -> C"]}
# Execution: A → B → C


@agent("A")
def a(request):
    return f"{request} A"


@agent("B")
def b(request):
    return f"{request} B"


@agent("C")
def c(request):
    return f"{request} C"


async def main():
    return {"by": told(await Orchestra.run(task="by", topology=topology))}


PROMISED = {
    "by": {
        "status": "completed",
        "result": "by A B C",
        "metrics": {"total_steps": 3, "branch_count": 1, "parallel_branches": 1},
        "trace": ["b0 simple completed: 1 A, 2 B, 3 C"],
    }
}
