"""Agents get what they name, in whatever way they are written."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from anabranch.agents.context import StepContext
from anabranch.agents.invoke import AgentBroken, AgentExited
from tests.unit.agents.steps import RUN, answer, reply

MEMORY = [{"role": "user", "content": "before"}]


def plain(request: Any) -> Any:
    return [request]


def other_name(prompt: Any) -> Any:
    return [prompt]


def after_memory(memory: Any, prompt: Any) -> Any:
    return [prompt]


def positional_only(prompt: Any, /, *, memory: Any) -> Any:
    return [prompt]


def any_arguments(*arguments: Any, **named: Any) -> Any:
    assert not named
    return list(arguments)


def with_default(request: Any, temperature: float = 0.5) -> Any:
    return [request]


async def coroutine(request: Any) -> Any:
    await asyncio.sleep(0)
    return [request]


async def generator(request: Any) -> AsyncIterator[Any]:
    yield "progress"
    yield [request]


class WithRun:
    def run(self, prompt: Any, memory: Any) -> Any:
        return [prompt]


class WithAsyncCall:
    async def __call__(self, prompt: Any) -> Any:
        return [prompt]


class WithStaticRun:
    @staticmethod
    async def run(request: Any) -> Any:
        return [request]


class Inherits(WithRun):
    pass


WAYS = [
    plain,
    other_name,
    after_memory,
    positional_only,
    any_arguments,
    with_default,
    coroutine,
    generator,
    WithRun,
    WithRun(),
    WithRun().run,
    WithAsyncCall(),
    WithStaticRun,
    Inherits,
    functools.partial(with_default, temperature=1.0),
    functools.partial(coroutine),
    lambda request: coroutine(request),
    lambda request: generator(request),
]


@pytest.mark.parametrize("implementation", WAYS)
async def test_the_request_reaches_every_kind_of_agent(implementation: Any) -> None:
    assert await reply(implementation, {"q": 1}) == [{"q": 1}]


async def test_only_what_is_named_is_passed() -> None:
    def named(memory: Any, context: Any, can_invoke: Any, steering: Any, step: Any) -> Any:
        return [memory, context, can_invoke, steering, step.step_id]

    given = {"memory": MEMORY, "context": {"user": 1}, "can_invoke": ["B"], "steering": "mind"}
    assert await reply(named, **given) == [MEMORY, {"user": 1}, ["B"], "mind", "0#1"]


async def test_an_agent_may_take_nothing() -> None:
    assert await reply(lambda: "done") == "done"


async def test_ctx_knows_the_step_and_takes_the_usage() -> None:
    def counting(request: Any, *, ctx: StepContext) -> Any:
        ctx.report_usage(input_tokens=3, cost=0.5)
        return [str(ctx.run_id), ctx.branch_id, ctx.step_id, ctx.attempt, ctx.deadline, ctx.context]

    found = await answer(counting, attempt=2, deadline="2030-01-01T00:00:00Z", context={"k": 1})
    assert found.reply == [str(RUN), "0", "0#1", 2, "2030-01-01T00:00:00Z", {"k": 1}]
    assert found.usage is not None
    assert found.usage.model_dump(exclude_none=True) == {"input_tokens": 3, "cost": 0.5}


async def test_steering_that_is_not_asked_for_ends_the_memory() -> None:
    steered = [*MEMORY, {"role": "system", "content": "mind"}]
    assert await reply(lambda request, memory: memory, memory=MEMORY, steering="mind") == steered
    assert await reply(lambda request, memory, steering: memory, memory=MEMORY, steering="mind") == MEMORY
    assert await reply(lambda request, memory: memory, memory=MEMORY) == MEMORY


async def test_sync_agents_leave_the_loop_alone_and_see_its_context() -> None:
    marker: ContextVar[str] = ContextVar("marker")
    marker.set("seen")
    names = await reply(lambda request: [threading.current_thread().name, marker.get()])
    assert names == ["agent", "seen"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("no"), "no"), (KeyError("k"), "k"), (StopIteration(), "coroutine raised StopIteration")],
)
async def test_what_an_agent_raises_is_raised(error: Exception, said: str) -> None:
    def failing(request: Any) -> Any:
        raise error

    with pytest.raises(Exception, match=said):
        await reply(failing)


async def test_exit_ends_the_step_only() -> None:
    async def leaving(request: Any) -> Any:
        raise SystemExit(3)

    for implementation in (leaving, lambda request: exit(3)):
        with pytest.raises(AgentExited, match=r"exit\(3\)"):
            await reply(implementation)


class Shutdown(BaseException):
    """As frameworks have their own."""


@pytest.mark.parametrize("wrapped", [False, True])
async def test_what_is_no_exception_ends_the_step_only(wrapped: bool) -> None:
    async def shut_down() -> None:
        raise Shutdown("now")

    async def failing(request: Any) -> Any:
        if wrapped:
            async with asyncio.TaskGroup() as group:
                group.create_task(shut_down())
        await shut_down()

    with pytest.raises(AgentBroken, match="BaseExceptionGroup" if wrapped else "Shutdown: now"):
        await reply(failing)


async def test_who_cancels_a_step_cancels_its_agent() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(request: Any) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(reply(endless))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
