"""Libraries that run workflows inside the user's own processes: two of those, for two cores, asked over pipes."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count, cycle
from typing import Any

import psycopg
from ops.bench.drive import DATABASE_URL
from ops.bench.workloads import Subject

JSON = Any
MEMBERS = 2
LONGEST = 64 * 2**20  # bytes of a line
SIZE = "SELECT pg_database_size(current_database())"


class Fleet:
    """Implements `Subject`: each run goes to the next member."""

    def __init__(self, members: list[asyncio.subprocess.Process]) -> None:
        self._numbers, self._next = count(), cycle(members)
        self._waiting: dict[int, asyncio.Future[JSON]] = {}
        self._tasks = [asyncio.create_task(self._listen(member)) for member in members]

    async def _listen(self, member: asyncio.subprocess.Process) -> None:
        assert member.stdout is not None
        while line := await member.stdout.readline():
            answer = json.loads(line)
            waiter = self._waiting.pop(answer["number"])
            if "error" in answer:
                waiter.set_exception(RuntimeError(answer["error"]))
            else:
                waiter.set_result(answer["result"])
        for waiter in self._waiting.values():
            waiter.cancel()

    async def _ask(self, call: str, *arguments: JSON) -> JSON:
        number, member = next(self._numbers), next(self._next)
        waiter = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert member.stdin is not None
        member.stdin.write(json.dumps({"number": number, "call": call, "arguments": arguments}).encode() + b"\n")
        return await waiter

    async def chain(self, first: int, steps: int) -> int:
        return int(await self._ask("chain", first, steps))

    async def fork(self, width: int) -> int:
        return int(await self._ask("fork", width))

    async def talk(self, turns: int) -> str:
        return str(await self._ask("talk", turns))

    async def stored(self) -> int:
        async with await psycopg.AsyncConnection.connect(DATABASE_URL) as connection:
            row = await (await connection.execute(SIZE)).fetchone()
            assert row is not None
            return int(row[0])


@asynccontextmanager
async def fleet(module: str) -> AsyncIterator[Fleet]:
    """All members, started one after the other, ready."""
    members: list[asyncio.subprocess.Process] = []
    try:
        for number in range(MEMBERS):
            command = (sys.executable, "-m", module, "member", str(number))
            pipe = asyncio.subprocess.PIPE
            member = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LONGEST)
            members.append(member)
            assert member.stdout is not None
            if await member.stdout.readline() != b"ready\n":
                raise RuntimeError(f"member {number} of {module} did not start")
        yield Fleet(members)
    finally:
        for member in members:
            if member.returncode is None:
                member.kill()
            await member.wait()


async def member(opened: AbstractAsyncContextManager[Subject]) -> None:
    """Be one: serve what is asked until standard input ends."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the library prints is no answer
    async with opened as subject, asyncio.TaskGroup() as serving:
        print("ready", file=answers)
        while line := await reader.readline():
            serving.create_task(_answer(subject, json.loads(line), answers))


async def _answer(subject: Subject, asked: JSON, answers: Any) -> None:
    try:
        found = {"result": await getattr(subject, asked["call"])(*asked["arguments"])}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"[:500]}
    print(json.dumps({"number": asked["number"], **found}), file=answers)
