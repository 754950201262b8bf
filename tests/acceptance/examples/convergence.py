"""Convergence Points: detected in the topology; they wait for all incoming branches and go on with all results."""

from anabranch import Edge, Node, Orchestra, Topology, agent
from tests.acceptance.telling import told

topology = Topology(
    nodes=[Node(name="Split", dispatch="all"), Node(name="Left"), Node(name="Right"), Node(name="Meet")],
    edges=[
        Edge(source="Split", target="Left"),
        Edge(source="Split", target="Right"),
        Edge(source="Left", target="Meet"),
        Edge(source="Right", target="Meet"),
    ],
)


@agent("Split")
def split(request):
    return request


@agent("Left")
def left(request):
    return f"left of {request}"


@agent("Right")
def right(request):
    return f"right of {request}"


@agent("Meet")
def meet(request):
    return " and ".join(record["result"] for record in request)


async def main():
    points = []
    for node in ("Split", "Left", "Right", "Meet"):
        # Automatic convergence detection
        if topology.is_convergence_point(node):
            points.append(node)
    result = await Orchestra.run(task="the road", topology=topology)
    return {"points": points, "the road": told(result)}


PROMISED = {
    "points": ["Meet"],
    "the road": {
        "status": "completed",
        "result": "left of the road and right of the road",
        "metrics": {"total_steps": 4, "branch_count": 3, "parallel_branches": 2},
        "trace": [
            "b0 nested completed: 1 Split, 2 Meet",
            "b0.f1.b0 simple merged: 1 Left",
            "b0.f1.b1 simple merged: 1 Right",
        ],
    },
}
