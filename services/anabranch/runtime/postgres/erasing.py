"""Erase runs that are over: the database replaces their payloads, under audit, in one transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from asyncpg.exceptions import InsufficientPrivilegeError, PostgresError
from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.runtime.postgres.engine import translated
from anabranch_contracts.errors import AnabranchError

PATIENCE_SECONDS = 3600.0  # a run of 100,000 steps takes minutes
ERASE = "SELECT anabranch.erase($1, $2, $3)"
FORKS = """WITH RECURSIVE forks AS (
    SELECT run_id FROM anabranch.run_rows WHERE forked_from = $1
    UNION SELECT r.run_id FROM anabranch.run_rows r JOIN forks f ON r.forked_from = f.run_id
) SELECT run_id FROM forks ORDER BY run_id"""
SOURCES = """WITH RECURSIVE sources AS (
    SELECT forked_from AS run_id FROM anabranch.run_rows WHERE run_id = $1 AND forked_from IS NOT NULL
    UNION SELECT r.forked_from FROM anabranch.run_rows r JOIN sources s USING (run_id) WHERE r.forked_from IS NOT NULL
) SELECT run_id FROM sources ORDER BY run_id"""
ERASED = "SELECT run_id FROM anabranch.events WHERE type = 'RunErased' AND run_id = ANY($1::uuid[])"
MEND = "it needs the rights of the role anabranch_operator"


class Unerasable(AnabranchError):
    """Nothing was erased; says why."""


@dataclass(slots=True)
class Erasure:
    """Events changed by run, and runs that still hold some of the same past."""

    events: dict[UUID, int] = field(default_factory=dict)
    copies: list[UUID] = field(default_factory=list)


async def erase(engine: AsyncEngine, run_id: UUID, actor: str, reason: str, with_forks: bool = False) -> Erasure:
    """Erase a run, with all its forks if wanted, or nothing; raises `Unerasable`."""
    found = Erasure()
    async with _explained(), _transaction(engine) as connection:
        todo = [run_id]
        while todo:
            for run in todo:
                found.events[run] = await connection.fetchval(ERASE, run, actor, reason, timeout=PATIENCE_SECONDS)
            forks = await _ids(connection, FORKS, run_id)  # a fork that was under way is there by now
            todo = [run for run in forks if with_forks and run not in found.events]
        family = [*await _ids(connection, SOURCES, run_id), *forks]
        gone = await _ids(connection, ERASED, family)
        found.copies = [run for run in family if run not in gone]
    return found


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[Any]:
    """The driver's own connection: it can wait longer for one statement than for others."""
    async with translated(), engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.transaction():
            yield driver


async def _ids(connection: Any, statement: str, parameter: UUID | list[UUID]) -> list[UUID]:
    return [UUID(str(row["run_id"])) for row in await connection.fetch(statement, parameter)]


@asynccontextmanager
async def _explained() -> AsyncIterator[None]:
    """What the database refuses, as one of our errors."""
    try:
        yield
    except PostgresError as refusal:
        hint = MEND if isinstance(refusal, InsufficientPrivilegeError) else "`anabranch runs` lists them"
        raise Unerasable(str(refusal), hint=hint) from None
