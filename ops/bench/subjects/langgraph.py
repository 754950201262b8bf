"""LangGraph with its Postgres checkpointer, in two processes; durability "sync": a checkpoint after each superstep."""

import asyncio
import operator
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from ops.bench.drive import DATABASE_URL, drive
from ops.bench.subjects import agent
from ops.bench.subjects.fleet import Fleet, fleet, member
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

JSON = Any


class Chain(TypedDict):
    value: int
    left: int


class Fork(TypedDict):
    width: int
    requests: list[int]
    values: Annotated[list[int], operator.add]
    result: int


class Talk(TypedDict):
    messages: Annotated[list[str], operator.add]
    left: int


async def step(state: Chain) -> JSON:
    return {"value": agent.step(state["value"]), "left": state["left"] - 1}


async def hub(state: Fork) -> JSON:
    return {"requests": agent.hub(state["width"])}


async def spoke(state: JSON) -> JSON:
    return {"values": [agent.step(state["request"])]}


async def join(state: Fork) -> JSON:
    return {"result": agent.join(state["values"])}


async def say(state: Talk) -> JSON:
    *memory, message = state["messages"][-agent.WINDOW :]
    return {"messages": [agent.say(message, memory)], "left": state["left"] - 1}


def chains() -> Any:
    """One node that is run again until nothing is left."""
    graph = StateGraph(Chain)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: "step" if state["left"] else END, ["step", END])
    return graph


def forks() -> Any:
    """A hub that sends to as many spokes as there are requests."""
    graph = StateGraph(Fork)
    for node in (hub, spoke, join):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "hub")
    graph.add_conditional_edges("hub", lambda s: [Send("spoke", {"request": r}) for r in s["requests"]], ["spoke"])
    graph.add_edge("spoke", "join")
    graph.add_edge("join", END)
    return graph


def talks() -> Any:
    """Two nodes in turn; the state is the list of messages."""
    graph = StateGraph(Talk)
    graph.add_node("ann", say)
    graph.add_node("bob", say)
    graph.add_edge(START, "ann")
    graph.add_edge("ann", "bob")
    graph.add_conditional_edges("bob", lambda state: "ann" if state["left"] else END, ["ann", END])
    return graph


class Graphs:
    """The graphs, compiled, of this process."""

    def __init__(self, saver: AsyncPostgresSaver) -> None:
        self._chain, self._fork, self._talk = (g.compile(checkpointer=saver) for g in (chains(), forks(), talks()))

    async def _run(self, graph: Any, state: JSON) -> JSON:
        config = {"configurable": {"thread_id": str(uuid4())}, "recursion_limit": 100_000}
        return await graph.ainvoke(state, config, durability="sync")

    async def chain(self, first: int, steps: int) -> int:
        return (await self._run(self._chain, {"value": first, "left": steps}))["value"]

    async def fork(self, width: int) -> int:
        return (await self._run(self._fork, {"width": width}))["result"]

    async def talk(self, turns: int) -> str:
        return (await self._run(self._talk, {"messages": [agent.said(0)], "left": 2 * turns}))["messages"][-1]


@asynccontextmanager
async def process() -> AsyncIterator[Graphs]:
    """A saver on a pool, as its documentation has it."""
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(DATABASE_URL, max_size=20, kwargs=options) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        yield Graphs(saver)


@asynccontextmanager
async def opened() -> AsyncIterator[Fleet]:
    """Both processes."""
    async with fleet("ops.bench.subjects.langgraph") as both:
        yield both


if __name__ == "__main__":
    if sys.argv[1] == "member":
        asyncio.run(member(process()))
    else:
        drive(opened)
