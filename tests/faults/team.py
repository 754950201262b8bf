"""Agents for the fault suite; each takes a few milliseconds and writes down that it was invoked, if told where."""

import asyncio
import json
import os
import time
from pathlib import Path

from anabranch import agent, ask_user, final_response, parallel_invoke

DIARY = os.environ.get("FAULTS_DIARY")


def invoked(ctx, phase="begin"):
    """One line, appended whole."""
    if DIARY:
        line = {
            "at": time.time(),
            "pid": os.getpid(),
            "step": [str(ctx.run_id), ctx.step_id, ctx.attempt],
            "phase": phase,
        }
        with open(DIARY, "ab", buffering=0) as diary:
            diary.write(json.dumps(line).encode() + b"\n")


@agent("Boss")
async def boss(request, ctx):
    invoked(ctx)
    return parallel_invoke(invocations=[{"agent": "Hand", "request": i} for i in range(4)])


@agent("Hand")
async def hand(request, ctx):
    invoked(ctx)
    await asyncio.sleep(0.01)
    return request * 2


@agent("Meet")
async def meet(request, memory, ctx):
    invoked(ctx)
    total = sum(record["result"] for record in request)
    return final_response(total) if len(memory) >= 4 else total


@agent("Judge")
def judge(request, ctx):
    invoked(ctx)
    return request + 1


@agent("One")
async def one(request, ctx):
    invoked(ctx)
    return 1


@agent("Two")
async def two(request, ctx):
    invoked(ctx)
    await asyncio.sleep(0.02)
    return request + 1


@agent("Three")
async def three(request, ctx):
    invoked(ctx)
    return request + 1


@agent("Asker")
async def asker(request, memory, ctx):
    invoked(ctx)
    return final_response("agreed") if len(memory) >= 6 else "what about this?"


@agent("Answerer")
async def answerer(request, ctx):
    invoked(ctx)
    return "no"


@agent("Flaky")
async def flaky(request, ctx):
    invoked(ctx)
    if ctx.attempt < 3:
        raise ConnectionError("the model is away")
    return "at last"


@agent("Clerk")
async def clerk(request, memory, ctx):
    invoked(ctx)
    return final_response(request) if memory else ask_user("May we?", choices=["yes", "no"])


@agent("Waiter")
async def waiter(request, ctx):
    """Say who has the step, in the folder that is the request; answer with that once told to go."""
    folder = Path(request)
    (folder / f"begun-{os.getpid()}").touch()
    while not (folder / f"go-{os.getpid()}").exists():  # noqa: ASYNC110 - a file gives no signal
        await asyncio.sleep(0.02)
    return os.getpid()
