"""Branch Pooling: five instances serve any number of requests."""

import asyncio

from anabranch import AgentPool


class Worker:
    """Counts how many of its kind are at work."""

    at_work = most = 0

    async def run(self, request):
        Worker.at_work += 1
        Worker.most = max(Worker.most, Worker.at_work)
        await asyncio.sleep(0.05)
        Worker.at_work -= 1
        return request * request


async def main():
    return await execute()


async def execute(**more):
    requests = list(range(6))
    # Create pool for parallel execution
    pool = AgentPool(agent_class=Worker, num_instances=5)

    # Pool handles concurrent requests
    results = await pool.execute_parallel(requests, **more)
    return {"results": results, "instances": len(pool.instances), "no more than five": Worker.most <= 5}


PROMISED = {"results": [0, 1, 4, 9, 16, 25], "instances": 5, "no more than five": True}
