"""Pipeline Pattern."""

from anabranch import Orchestra, PatternConfig, agent
from tests.acceptance.telling import told

# Stage-based processing
stages = [
    {"name": "extract", "agents": ["Extractor"]},
    {"name": "transform", "agents": ["T1", "T2"]},
    {"name": "load", "agents": ["Loader"]},
]

topology = PatternConfig.pipeline(stages=stages, parallel_within_stage=True)


@agent("Extractor")
def extractor(request):
    return f"raw {request}"


@agent("T1")
def t1(request):
    return f"first form of {request}"


@agent("T2")
def t2(request):
    return f"second form of {request}"


@agent("Loader")
def loader(request):
    return {record["agent"]: record["result"] for record in request}


async def main():
    return {"data": told(await Orchestra.run(task="data", topology=topology))}


PROMISED = {
    "data": {
        "status": "completed",
        "result": {"T1": "first form of raw data", "T2": "second form of raw data"},
        "metrics": {"total_steps": 4, "branch_count": 3, "parallel_branches": 2},
        "trace": [
            "b0 nested completed: 1 Extractor, 2 Loader",
            "b0.f1.b0 simple merged: 1 T1",
            "b0.f1.b1 simple merged: 1 T2",
        ],
    }
}
