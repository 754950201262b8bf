"""Calls from inside an agent's code: how they get out of it, and what they are recognised by when it runs again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from anabranch.agents.calls import NondeterministicAgent
from anabranch.agents.context import StepContext
from anabranch_contracts.reply_builders import ask_user, invoke_agent
from tests.unit.agents.steps import reply

JSON = Any
Agent = Callable[..., Awaitable[JSON]]


async def plainly(request: JSON, *, ctx: StepContext) -> JSON:
    return await ctx.invoke_agent("B", request)


async def in_a_group(request: JSON, *, ctx: StepContext) -> JSON:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ctx.invoke_agent(agent, request)) for agent in ("B", "C")]
    return [task.result() for task in asked]


async def gathered(request: JSON, *, ctx: StepContext) -> JSON:
    return await asyncio.gather(ctx.invoke_agent("B", request), ctx.invoke_agent("C", request))


async def wrapping(request: JSON, *, ctx: StepContext) -> JSON:
    try:
        return await ctx.invoke_agent("B", request)
    except BaseException as error:
        raise ValueError("something went wrong") from error


async def swallowing(request: JSON, *, ctx: StepContext) -> JSON:
    try:
        return await ctx.invoke_agent("B", request)
    except BaseException:
        return "as if nothing had been"


@pytest.mark.parametrize("agent", [plainly, in_a_group, gathered, wrapping, swallowing])
async def test_a_call_is_asked_for_however_the_code_unwinds(agent: Agent) -> None:
    asked = await reply(agent, "for you")
    assert (asked["next_action"], asked["number"]) == ("call", 1)
    assert asked["invocations"] == [{"agent": "B", "request": "for you"}]


async def played(agent: Agent, request: JSON, values: list[JSON]) -> JSON:
    """The agent's reply once each of its calls, run from the beginning each time, has come to its value."""
    calls: list[JSON] = []
    for value in values:
        asked = await reply(agent, request, calls=calls)
        assert asked["number"] == len(calls) + 1
        calls.append({"print": asked["print"], "value": value})
    return await reply(agent, request, calls=calls)


def record(result: JSON) -> list[JSON]:
    return [{"agent": "B", "status": "completed", "result": result}]


async def thorough(request: JSON, *, ctx: StepContext) -> JSON:
    first = await ctx.invoke_agent("B", {"b": 1, "a": request})
    second = await ctx.parallel_invoke(invocations=[{"agent": "B", "request": first}])
    return [first, second, await ctx.ask_user({"good?": second})]


async def test_the_same_code_again_gets_its_results() -> None:
    assert await played(thorough, "go", [record(1), record(2), "yes"]) == [1, [2], "yes"]
    assert await played(in_a_group, "go", [record(1), record(2)]) == [1, 2]


async def test_the_order_of_keys_tells_no_calls_apart() -> None:
    keys = iter([["a", "b"], ["b", "a"]])

    async def shuffling(request: JSON, *, ctx: StepContext) -> JSON:
        return await ctx.invoke_agent("B", dict.fromkeys(next(keys), 1))

    assert await played(shuffling, "go", [record("well")]) == "well"


def another_request(again: bool) -> JSON:
    return invoke_agent("B", "this" if again else "that")


def another_agent(again: bool) -> JSON:
    return invoke_agent("B" if again else "C", "this")


def another_prompt(again: bool) -> JSON:
    return ask_user("this?" if again else "that?")


def another_kind(again: bool) -> JSON:
    return ask_user("B") if again else invoke_agent("B", "this")


@pytest.mark.parametrize("call", [another_request, another_agent, another_prompt, another_kind])
async def test_another_call_at_the_same_place_is_no_repetition(call: Callable[[bool], JSON]) -> None:
    turns = iter([False, True])

    async def fickle(request: JSON) -> JSON:
        return await call(next(turns))

    with pytest.raises(NondeterministicAgent, match=r"call 1, to (B|C|User), is another than the agent made"):
        await played(fickle, "go", [record("well")])


async def test_another_call_is_noticed_wherever_it_is_made() -> None:
    requests = iter(["same", "same", "one", "same", "other"])

    async def drifting(request: JSON, *, ctx: StepContext) -> JSON:
        return [await ctx.invoke_agent("B", next(requests)) for _ in range(2)]

    with pytest.raises(NondeterministicAgent, match="call 2, to B"):
        await played(drifting, "go", [record(1), record(2)])
