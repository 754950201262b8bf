"""Map-Reduce Pattern, inside an agent."""

from anabranch import Orchestra, agent, final_response, invoke_agent, parallel_invoke
from tests.acceptance.telling import told

topology = {
    "nodes": ["MapReduce", "Mapper1", "Mapper2", "Mapper3", "Reducer"],
    "edges": [f"MapReduce -> {name}" for name in ("Mapper1", "Mapper2", "Mapper3", "Reducer")],
}


@agent("MapReduce")
async def map_reduce(request):
    data_chunks = request.split("|")
    # Map phase: parallel processing
    map_results = await parallel_invoke(agents=["Mapper1", "Mapper2", "Mapper3"], tasks=data_chunks)

    # Reduce phase: aggregation
    final_result = await invoke_agent("Reducer", request=map_results)
    return final_response({"words": map_results, "sum": final_result})


def words(request):
    return len(request.split())


for name in ("Mapper1", "Mapper2", "Mapper3"):
    agent(name)(words)


@agent("Reducer")
def reducer(request):
    return sum(request)


async def main():
    return {"one|two three|four": told(await Orchestra.run(task="one|two three|four", topology=topology))}


PROMISED = {
    "one|two three|four": {
        "status": "completed",
        "result": {"words": [1, 2, 1], "sum": 4},
        "metrics": {"total_steps": 5, "branch_count": 5, "parallel_branches": 3},
        "trace": [
            "b0 nested completed: 1 MapReduce",
            "b0.f1.b0 simple completed: 1 Mapper1",
            "b0.f1.b1 simple completed: 1 Mapper2",
            "b0.f1.b2 simple completed: 1 Mapper3",
            "b0.f2.b0 simple completed: 1 Reducer",
        ],
    }
}
