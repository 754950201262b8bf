"""Agents of the store that a release leaves behind: while `HOLD` is set, what would end a run does not come."""

import asyncio
import os

from anabranch import (
    RecoverableError,
    TerminalError,
    agent,
    ask_user,
    final_response,
    invoke_agent,
    parallel_invoke,
    retry_later,
)

HOLD = "HOLD" in os.environ
TURNS = 140


@agent("A")
def a(request):
    return "a"


@agent("W")
def w(request):
    return f"w{request}"


@agent("Held")
async def held(request):
    if HOLD:
        await asyncio.Event().wait()
    return "held"


@agent("B")
def b(request):
    return final_response(f"b after {request}")


@agent("Boss")
def boss(request):
    if isinstance(request, list):
        return final_response([record["result"] for record in request])
    return parallel_invoke(invocations=[{"agent": "W", "request": i} for i in range(3)] + [{"agent": "Held"}])


@agent("Splitter")
def splitter(request):
    return parallel_invoke(agents=["W", "Held"])


@agent("Meet")
def meet(request):
    return final_response([record["result"] for record in request])


@agent("Caller")
async def caller(request):
    first = await invoke_agent("W", request=1)
    return final_response([first, *await parallel_invoke(agents=["W", "Held"], tasks=[2, 3])])


@agent("Ping")
def ping(request):
    turn = request if isinstance(request, int) else 0
    return invoke_agent("Pong", turn + 1) if turn < TURNS else invoke_agent("Held", turn)


@agent("Pong")
def pong(request):
    return request


@agent("Asker")
def asker(request, memory):
    if memory:
        return final_response(f"you said {request}")
    return ask_user("Publish?", choices=["yes", "no"])


@agent("Impatient")
def impatient(request, memory):
    if memory:
        return final_response(f"you said {request}")
    return ask_user("Publish?", timeout=60, default="nobody")


@agent("Writer")
def writer(request, memory):
    return final_response(f"you said {request}") if memory else "what do you say?"


@agent("Later")
def later(request):
    return retry_later(60) if HOLD else "later"


@agent("Faulty")
def faulty(request):
    if HOLD:
        raise ConnectionError("not yet")
    return "mended"


@agent("Stuck")
def stuck(request):
    if HOLD:
        raise RecoverableError("who helps?")
    return "helped"


@agent("Doomed")
def doomed(request):
    raise TerminalError("no")
