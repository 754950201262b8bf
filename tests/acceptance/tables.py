"""The pinned relations of interface.md section 2, read with plain SQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

JSON = Any
Row = dict[str, JSON]
ORDER = {
    "branches": "branch_id",
    "steps": "step_id",
    "convergences": "opened_at, convergence_id",
    "messages": "branch_id, agent, seq",
    "user_requests": "requested_at, request_id",
    "checkpoints": "version, name",
    "events": "version",
}


class Tables:
    """What anybody with a database client sees of a run."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def run(self, run_id: str) -> Row:
        """The row of `runs`."""
        return dict(await self._connection.fetchrow("SELECT * FROM anabranch.runs WHERE run_id = $1", run_id))

    async def rows(self, relation: str, run_id: str) -> list[Row]:
        """The run's rows of another relation."""
        statement = f"SELECT * FROM anabranch.{relation} WHERE run_id = $1 ORDER BY {ORDER[relation]}"
        return [dict(row) for row in await self._connection.fetch(statement, run_id)]

    async def value(self, statement: str, *parameters: JSON) -> JSON:
        """The one value of any other question."""
        return await self._connection.fetchval(statement, *parameters)

    async def stuck(self) -> list[Row]:
        """Live branches that nothing would ever move."""
        return [dict(row) for row in await self._connection.fetch("SELECT * FROM anabranch.stuck")]


@asynccontextmanager
async def tables(database_url: str) -> AsyncIterator[Tables]:
    """Connected for the duration; JSON columns come decoded."""
    connection = await asyncpg.connect(database_url)
    await connection.set_type_codec("jsonb", encoder=orjson.dumps, decoder=orjson.loads, schema="pg_catalog")
    try:
        yield Tables(connection)
    finally:
        await connection.close()
