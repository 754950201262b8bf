"""Initialization Phase: `Orchestra.run` validates, finds the entry points and starts a branch at each."""

from anabranch import InvalidTopology, Orchestra, agent
from tests.acceptance.telling import told

topology = {
    "nodes": ["Prices", "News", "Analyst"],
    "edges": ["Prices -> Analyst", "News -> Analyst"],
}


@agent("Prices")
def prices(request, memory, context):
    return {"prices": request, "memory": memory, "branch": context["branch_id"]}


@agent("News")
def news(request, memory, context):
    return {"news": request, "memory": memory, "branch": context["branch_id"]}


@agent("Analyst")
def analyst(request):
    return [record["result"] for record in request]


async def refusal():
    wrong = {"nodes": ["Prices", "Prices"], "edges": ["Prices -> Nobody"]}
    try:
        await Orchestra.run(task="never begun", topology=wrong)
    except InvalidTopology as error:
        return error.errors


async def main():
    result = await Orchestra.run(task="Analyze market data", topology=topology)
    return {"Analyze market data": told(result), "refused": await refusal()}


PROMISED = {
    "Analyze market data": {
        "status": "completed",
        "result": [
            {"prices": "Analyze market data", "memory": [], "branch": "b0"},
            {"news": "Analyze market data", "memory": [], "branch": "b1"},
        ],
        "metrics": {"total_steps": 3, "branch_count": 3, "parallel_branches": 2},
        "trace": ["b0 simple merged: 1 Prices", "b1 simple merged: 1 News", "c2.1 simple completed: 1 Analyst"],
    },
    "refused": [
        "topology: node 'Prices' is declared twice; remove one",
        "topology: edge 'Prices' -> 'Nobody': unknown node 'Nobody'; declare it in nodes",
    ],
}
