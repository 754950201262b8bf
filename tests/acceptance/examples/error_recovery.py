"""Error Recovery Flow: a person decides to retry, skip or abort; a rate limit is waited out; what is terminal ends."""

import asyncio

from anabranch import ExecutionConfig, Orchestra, RateLimited, RecoverableError, RetryPolicy, TerminalError, agent
from tests.acceptance.telling import told

topology = {
    "nodes": ["Fragile", "Next", "User"],
    "edges": ["Fragile -> Next", "Fragile -> User", "User -> Fragile"],
}
config = ExecutionConfig(retry=RetryPolicy(base_delay=0.05))


@agent("Fragile")
def fragile(request, ctx):
    """Fail as the task says; the second attempt succeeds."""
    if ctx.attempt > 1:
        return f"{request}, attempt {ctx.attempt}"
    if request == "wait":
        raise RateLimited("busy", retry_after=0.1)
    if request == "give up":
        raise TerminalError("nothing can help")
    if request == "try again":
        raise ConnectionError("lost for a moment")
    raise RecoverableError("a person could help")


@agent("Next")
def next_(request):
    return {"next got": request}


async def decided(decision):
    """A run whose error waits for a person, who answers with the name of the task."""
    handle = await Orchestra.submit(task=decision, topology=topology, config=config)
    asked = None
    async for event in handle.events():
        if event["type"] == "UserInputRequested":
            asked = event["data"]["choices"]
            await handle.respond(decision)
    return {**told(await handle.result()), "asked": asked}


async def alone(task):
    return told(await Orchestra.run(task=task, topology=topology, config=config))


async def main():
    asked = ("retry", "skip", "abort")
    not_asked = ("wait", "try again", "give up")
    facts = await asyncio.gather(*map(decided, asked), *map(alone, not_asked))
    return dict(zip((*asked, *not_asked), facts, strict=True))


def _went_on(result, step="1 Fragile", kind="simple"):
    return {
        "status": "completed",
        "result": {"next got": result},
        "metrics": {"total_steps": 2, "branch_count": 1, "parallel_branches": 1},
        "trace": [f"b0 {kind} completed: {step}, 2 Next"],
    }


def _failed(error, kind):
    return {
        "status": "failed",
        "error": error,
        "metrics": {"total_steps": 1, "branch_count": 1, "parallel_branches": 1},
        "trace": [f"b0 {kind} failed: 1 Fragile failed"],
    }


CHOICES = {"asked": ["retry", "skip", "abort"]}
PROMISED = {
    "retry": {**_went_on("retry, attempt 2", kind="user_interaction"), **CHOICES},
    "skip": {**_went_on(None, "1 Fragile skipped", "user_interaction"), **CHOICES},
    "abort": {**_failed("ForkFailed", "user_interaction"), **CHOICES},
    "wait": _went_on("wait, attempt 2"),
    "try again": _went_on("try again, attempt 2"),
    "give up": _failed("ForkFailed", "simple"),
}
