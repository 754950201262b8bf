"""Ask for runs and look at them while anything may be gone: whatever fails is done again with the same ids."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Outgoing, Unavailable
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from tests.faults.workload import Kind

JSON = Any
GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
OVER = "('completed', 'failed', 'cancelled', 'rejected')"
QUESTIONS = "SELECT run_id, request_id FROM anabranch.user_requests WHERE status = 'open' LIMIT 200"
OPEN = f"SELECT count(*) AS count FROM anabranch.runs WHERE run_id = ANY($1) AND status IN {OVER}"


class Persistent:
    """A client that publishes until it is confirmed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport: RabbitTransport | None = None

    async def publish(self, key: str, bodies: Sequence[JSON]) -> None:
        """Each body once or more; the receivers know them by their ids."""
        while True:
            messages = [Outgoing(key, orjson.dumps(body), uuid7(), "") for body in bodies]
            try:
                await (await self._connected()).publish(messages)
            except Unavailable:
                await self.close()
                await asyncio.sleep(0.1)
            else:
                return

    async def request(self, runs: Mapping[UUID, Kind]) -> None:
        """Ask for these runs."""
        body = [
            {"run_id": str(run_id), "task": "go", "topology": kind.topology, "config": kind.config or {}}
            for run_id, kind in runs.items()
        ]
        await self.publish("run.requested", body)

    async def _connected(self) -> RabbitTransport:
        if self._transport is None or not self._transport.healthy():
            await self.close()
            made = RabbitTransport(self._url, publish_timeout=10)
            await made.connect()
            self._transport = made
        return self._transport

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()
            self._transport = None


@asynccontextmanager
async def persistent(url: str) -> AsyncIterator[Persistent]:
    """A client for the duration."""
    made = Persistent(url)
    try:
        yield made
    finally:
        await made.close()


async def rows(url: str, statement: str, *parameters: JSON) -> list[asyncpg.Record]:
    """Ask the database until it answers."""
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5, command_timeout=30)
            try:
                return list(await connection.fetch(statement, *parameters))
            finally:
                await connection.close(timeout=2)
        except GONE:
            await asyncio.sleep(0.1)


async def answer_questions(url: str, asking: Persistent) -> int:
    """Say yes to everybody who asks a person now."""
    open_now = await rows(url, QUESTIONS)
    bodies = [{"run_id": str(q["run_id"]), "request_id": str(q["request_id"]), "value": "yes"} for q in open_now]
    if bodies:
        await asking.publish("user.provided", bodies)
    return len(bodies)


async def all_over(url: str, run_ids: Sequence[UUID], seconds: float, asking: Persistent | None = None) -> None:
    """Wait until each of these runs has an outcome."""
    seen = 0
    try:
        async with asyncio.timeout(seconds):
            while (seen := (await rows(url, OPEN, list(run_ids)))[0]["count"]) < len(run_ids):
                if asking is not None:
                    await answer_questions(url, asking)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{len(run_ids) - seen} of {len(run_ids)} runs are not over after {seconds} s") from None
