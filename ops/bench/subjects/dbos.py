"""DBOS: workflows in two processes over one Postgres; each step's output is committed before the next step starts."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, DBOSConfig
from ops.bench.drive import DATABASE_URL, drive
from ops.bench.subjects import agent
from ops.bench.subjects.fleet import Fleet, fleet, member

JSON = Any
STACK = 512 * 1024  # bytes; it begins a thread for each step, and ten thousand of them are to fit into memory


@DBOS.step()
async def step(value: int) -> int:
    return agent.step(value)


@DBOS.step()
async def hub(width: int) -> list[int]:
    return agent.hub(width)


@DBOS.step()
async def join(values: list[int]) -> int:
    return agent.join(values)


@DBOS.step()
async def say(message: str, memory: list[str]) -> str:
    return agent.say(message, memory)


@DBOS.workflow()
async def chain(value: int, steps: int) -> int:
    for _ in range(steps):
        value = await step(value)
    return value


@DBOS.workflow()
async def fork(width: int) -> int:
    return await join(await asyncio.gather(*(step(one) for one in await hub(width))))


@DBOS.workflow()
async def talk(turns: int) -> str:
    message, memory = agent.said(0), []
    for _ in range(2 * turns):
        memory = [*memory, message][-agent.WINDOW :]
        message = await say(message, memory[:-1])
    return message


class Workflows:
    """Workflows of this process, started in the background, as a service would."""

    async def chain(self, first: int, steps: int) -> int:
        return await (await DBOS.start_workflow_async(chain, first, steps)).get_result()

    async def fork(self, width: int) -> int:
        return await (await DBOS.start_workflow_async(fork, width)).get_result()

    async def talk(self, turns: int) -> str:
        return await (await DBOS.start_workflow_async(talk, turns)).get_result()


@asynccontextmanager
async def process(number: str) -> AsyncIterator[Workflows]:
    """DBOS launched under a name of its own, as several processes on one database must be."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": DATABASE_URL,
        "executor_id": f"member-{number}",
        "log_level": "WARNING",
        "db_engine_kwargs": {"pool_timeout": 600},  # 10,000 steps at once wait longer than 30 s for a connection
    }
    threading.stack_size(STACK)
    DBOS(config=config)
    await asyncio.to_thread(DBOS.launch)
    yield Workflows()


@asynccontextmanager
async def opened() -> AsyncIterator[Fleet]:
    """Both processes."""
    async with fleet("ops.bench.subjects.dbos") as both:
        yield both


if __name__ == "__main__":
    if sys.argv[1] == "member":
        asyncio.run(member(process(sys.argv[2])))
    else:
        drive(opened)
