"""Commands to the embedded engine from other processes.

Its broker lives in its own memory, so `anabranch respond` and the like leave their message in a table of the data
folder's Postgres. The engine takes it from there, now or when it is started next, and writes what came of it; who
reads that takes the row away. The database ends with its engine, so the engine waits a moment for readers.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.client import queries
from anabranch.client.session import Session
from anabranch.domain.deciders import Command
from anabranch.domain.forking import Fork
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Unavailable
from anabranch.runtime.postgres.engine import translated
from anabranch.runtime.reading import Unreadable, read
from anabranch.runtime.redaction import NOTHING, Redaction
from anabranch_contracts.errors import CommandRefused

JSON = Any
POLL_SECONDS = 0.25
PUT = "INSERT INTO anabranch.mailbox (message_id, routing_key, body) VALUES ($1, $2, $3::text::jsonb)"
OPEN = "SELECT message_id, routing_key, body FROM anabranch.mailbox WHERE outcome IS NULL ORDER BY sent_at LIMIT 100"
ANSWER = "UPDATE anabranch.mailbox SET outcome = $2::text::jsonb, answered_at = now() WHERE message_id = $1"
OUTCOME = "SELECT outcome FROM anabranch.mailbox WHERE message_id = $1"
READ = "DELETE FROM anabranch.mailbox WHERE message_id = $1"
UNREAD = "SELECT message_id FROM anabranch.mailbox WHERE answered_at > now() - interval '2 seconds'"
log = structlog.get_logger(__name__)


async def _execute(database: AsyncEngine, statement: str, *parameters: Any) -> None:
    async with translated(), database.begin() as connection:
        await connection.exec_driver_sql(statement, parameters)


async def leave(
    database: AsyncEngine, key: str, body: Mapping[str, JSON], redaction: Redaction = NOTHING, patience: float = 5.0
) -> bool:
    """Leave a command; True when an engine accepted it within `patience` seconds, raises `CommandRefused`.

    False: it is kept for the next engine, also where the present one went away and its database with it.
    """
    identity = uuid7()
    await _execute(database, PUT, identity, key, redaction.body(orjson.dumps(body)).decode())
    outcome: dict[str, JSON] | None = None
    with suppress(Unavailable):
        outcome = await _outcome(database, identity, patience)
    if outcome is not None and not outcome["accepted"]:
        raise CommandRefused(outcome["reason"])
    return outcome is not None


async def _outcome(database: AsyncEngine, identity: UUID, patience: float) -> dict[str, JSON] | None:
    """What an engine wrote, once it has."""
    for _ in range(int(patience / POLL_SECONDS)):
        await asyncio.sleep(POLL_SECONDS)
        (row,) = await queries.rows(database, OUTCOME, identity)
        if row["outcome"] is not None:
            outcome: dict[str, JSON] = row["outcome"]
            with suppress(Unavailable):
                await _execute(database, READ, identity)
            return outcome
    return None


async def take(database: AsyncEngine, session: Session, closing: asyncio.Event) -> None:
    """Hand every command that is left to the services of this engine, until it closes."""
    while not closing.is_set():
        for row in await queries.rows(database, OPEN):
            await _hand_over(database, session, row)
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), POLL_SECONDS)


async def close(database: AsyncEngine, taking: "asyncio.Task[None]", closing: asyncio.Event) -> None:
    """Finish the command in hand, and let who left one read what came of it."""
    closing.set()
    await asyncio.wait({taking}, timeout=5)
    taking.cancel()
    with suppress(Unavailable):
        while await queries.rows(database, UNREAD):  # noqa: ASYNC110 - a reader in another process gives no signal
            await asyncio.sleep(POLL_SECONDS)


async def _hand_over(database: AsyncEngine, session: Session, row: dict[str, JSON]) -> None:
    """The message has the row's id, so that a command in hand when the engine died is still taken once."""
    identity = UUID(str(row["message_id"]))
    outcome: dict[str, JSON] = {"accepted": True}
    try:
        _check(row, identity)
        await session.command(row["routing_key"], row["body"], identity=identity)
    except (CommandRefused, Unreadable) as why:
        outcome = {"accepted": False, "reason": str(why)}
    await _execute(database, ANSWER, identity, orjson.dumps(outcome).decode())


def _check(row: dict[str, JSON], identity: UUID) -> None:
    """Anybody may write into a table: what is no command would never be answered, and keep all others waiting."""
    found = read(Delivery(row["routing_key"], orjson.dumps(row["body"]), str(identity)))
    if not isinstance(found.message, Command | Fork):
        raise CommandRefused(f"{row['routing_key']} is no command")
