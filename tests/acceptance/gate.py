"""A gate where scripted agents wait: a test knows that a step runs, and says how it goes on."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

JSON = Any


@dataclass(frozen=True)
class Waiting:
    """An attempt that has begun and waits for its instruction."""

    step_id: str
    attempt: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def go(self, instruction: JSON) -> None:
        """Let the agent follow the instruction."""
        self.writer.write(json.dumps(instruction).encode() + b"\n")

    async def gone(self, seconds: float = 30) -> None:
        """Until the agent is there no longer: it went on, was stopped, or its worker died."""
        async with asyncio.timeout(seconds):
            await self.reader.read()


class Gate:
    """Who has come, by run and agent."""

    def __init__(self) -> None:
        self.port = 0
        self._come: defaultdict[tuple[str, str], asyncio.Queue[Waiting]] = defaultdict(asyncio.Queue)

    async def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An agent has come; one whose worker died on the way has not."""
        line = await reader.readline()
        if not line:
            return
        place = json.loads(line)
        waiting = Waiting(place["step_id"], place["attempt"], reader, writer)
        self._come[place["run_id"], place["agent"]].put_nowait(waiting)

    async def begun(self, run_id: str, agent: str, seconds: float = 30) -> Waiting:
        """The next step of the agent that waits here."""
        async with asyncio.timeout(seconds):
            return await self._come[run_id, agent].get()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    """Open on a port of its own; who still waits at the end is sent away."""
    made = Gate()
    server = await asyncio.start_server(made.admit, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
