"""Commands to the embedded engine from other processes.

Its broker lives in its own memory, so `anabranch respond` and the like leave their message in a table of the data
folder's Postgres. The engine takes it from there, now or when it is started next, and writes what came of it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.client import queries
from anabranch.client.session import Session
from anabranch.runtime.ids import uuid7
from anabranch.runtime.postgres.store import translated
from anabranch_contracts.errors import CommandRefused

JSON = Any
POLL_SECONDS = 0.25
PUT = "INSERT INTO anabranch.mailbox (message_id, routing_key, body) VALUES ($1, $2, $3::text::jsonb)"
OPEN = "SELECT message_id, routing_key, body FROM anabranch.mailbox WHERE outcome IS NULL ORDER BY sent_at LIMIT 100"
ANSWER = "UPDATE anabranch.mailbox SET outcome = $2::text::jsonb, answered_at = now() WHERE message_id = $1"
OUTCOME = "SELECT outcome FROM anabranch.mailbox WHERE message_id = $1"
log = structlog.get_logger(__name__)


async def _execute(database: AsyncEngine, statement: str, *parameters: Any) -> None:
    async with translated(), database.begin() as connection:
        await connection.exec_driver_sql(statement, parameters)


async def leave(database: AsyncEngine, key: str, body: Mapping[str, JSON], patience: float = 5.0) -> bool:
    """Leave a command; True when an engine accepted it within `patience` seconds, raises `CommandRefused`."""
    identity = uuid7()
    await _execute(database, PUT, identity, key, orjson.dumps(body).decode())
    for _ in range(int(patience / POLL_SECONDS)):
        await asyncio.sleep(POLL_SECONDS)
        (row,) = await queries.rows(database, OUTCOME, identity)
        if row["outcome"] is not None:
            if not row["outcome"]["accepted"]:
                raise CommandRefused(row["outcome"]["reason"])
            return True
    return False


async def take(database: AsyncEngine, session: Session) -> None:
    """Hand every command that is left to the services of this engine, until cancelled."""
    while True:
        for row in await queries.rows(database, OPEN):
            await _hand_over(database, session, row)
        await asyncio.sleep(POLL_SECONDS)


async def _hand_over(database: AsyncEngine, session: Session, row: dict[str, JSON]) -> None:
    """The message has the row's id, so that a command in hand when the engine died is still taken once."""
    identity = UUID(str(row["message_id"]))
    outcome: dict[str, JSON] = {"accepted": True}
    try:
        async with asyncio.timeout(30):
            await session.command(row["routing_key"], row["body"], identity=identity)
    except CommandRefused as why:
        outcome = {"accepted": False, "reason": str(why)}
    except TimeoutError:  # it could not be read, so it was parked without an answer
        outcome = {"accepted": False, "reason": "the command cannot be read"}
    await _execute(database, ANSWER, identity, orjson.dumps(outcome).decode())
