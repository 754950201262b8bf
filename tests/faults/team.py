"""Agents for the fault suite: a fork, a convergence and a conversation in each run; each takes a few milliseconds."""

import asyncio

from anabranch import agent, final_response, parallel_invoke


@agent("Boss")
async def boss(request):
    return parallel_invoke(invocations=[{"agent": "Hand", "request": i} for i in range(4)])


@agent("Hand")
async def hand(request):
    await asyncio.sleep(0.01)
    return request * 2


@agent("Meet")
async def meet(request, memory):
    total = sum(record["result"] for record in request)
    return final_response(total) if len(memory) >= 4 else total


@agent("Judge")
def judge(request):
    return request + 1
