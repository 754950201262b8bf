"""Sync agents run in threads of their own.

Not in an executor: its threads are joined when the process ends, so one agent that never returns would
keep a drained worker alive, and each that outlives its deadline would cost a place in the pool for good.
The worker bounds how many run at once.
"""

import asyncio
import contextvars
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Outcome = tuple[Any, BaseException | None]


async def in_thread(function: Callable[[], T]) -> T:
    """The function's result or exception, from a daemon thread with the caller's context variables."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()
    context = contextvars.copy_context()
    Thread(target=_work, args=(loop, done, lambda: context.run(function)), name="agent", daemon=True).start()
    result, error = await done
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _work(loop: asyncio.AbstractEventLoop, done: "asyncio.Future[Outcome]", function: Callable[[], Any]) -> None:
    outcome: Outcome
    try:
        outcome = function(), None
    except BaseException as error:  # SystemExit too: it is the agent's, not the worker's
        outcome = None, error
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, done, outcome)


def _settle(done: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not done.done():
        done.set_result(outcome)
