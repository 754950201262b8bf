"""Connections: two small pools a process, JSON through orjson, and the port's errors for the driver's.

The store uses the driver itself: what every message waits for goes through no other layer, and no question is asked
first whether a connection still stands: one that the server closed is known, and a silent one ends by its keepalives.

The driver reads the URL itself, so that everything it says has the meaning it has for every other client of
Postgres: `sslmode=verify-full`, `sslrootcert`, `sslcert` and `sslkey` among it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ssl import SSLError
from typing import Any

import asyncpg
import orjson
from asyncpg.exceptions import (
    ClientConfigurationError,
    DataError,
    DeadlockDetectedError,
    InterfaceError,
    PostgresError,
    SerializationError,
    UniqueViolationError,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from anabranch.runtime.ports import Conflict, Denied, Unavailable

LOST_RACES = (UniqueViolationError, DeadlockDetectedError, SerializationError)
# connection, transaction (read only, idle too long), resources, operator, system
CANNOT_SERVE = ("08", "25", "53", "57", "58")
OTHER_SCHEMA = ("42P01", "42703", "42883", "3F000")  # no such table, column, function, schema
DENIED = ("28", "3D", "42501")  # authorisation, no such database, a right that is missing
MEND = "correct user, password, database, sslmode and sslrootcert; ops/postgres/roles.sql makes the roles"
POOLED = {"pool_size": 5, "max_overflow": 5, "pool_pre_ping": True, "pool_recycle": 1800}
MOST_CONNECTIONS = 10
COMMAND_SECONDS = 60.0
SESSION = {
    "application_name": "anabranch",
    "idle_in_transaction_session_timeout": "20s",  # who stops in the middle must not hold the locks of its runs
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",  # nor who has vanished from the network
}


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


async def _opened(url: str, command_timeout: float | None = COMMAND_SECONDS) -> "asyncpg.Connection[Any]":
    opened: asyncpg.Connection[Any] = await asyncpg.connect(
        f"postgresql://{url.partition('://')[2]}",  # whatever spelling of the scheme was accepted
        timeout=10,
        command_timeout=command_timeout,
        server_settings=SESSION,
    )
    return opened


def create_pool(url: str) -> "asyncpg.Pool[Any]":
    """The driver's own connections, opened when they are wanted; nobody changes their sessions."""

    async def connect(*_: Any, **__: Any) -> "asyncpg.Connection[Any]":
        opened = await _opened(url)
        await opened.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=orjson.loads)
        return opened

    async def as_it_is(_: object) -> None:
        """Nothing to reset."""

    return asyncpg.create_pool(
        min_size=0, max_size=MOST_CONNECTIONS, max_inactive_connection_lifetime=0, connect=connect, reset=as_it_is
    )


def create_engine(url: str, command_timeout: float | None = COMMAND_SECONDS, **pool: Any) -> AsyncEngine:
    """An engine that answers or fails soon: connections are checked before use."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(_opened, url, command_timeout),
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        hide_parameters=True,  # they are payloads, and an error is logged
        **(pool or POOLED),
    )


def _translated(error: BaseException) -> Exception | None:
    """Our error for a driver's; None where it is a defect of ours and should be seen as it is."""
    cause = getattr(getattr(error, "orig", None), "__cause__", None) or error
    if isinstance(cause, LOST_RACES):
        return Conflict(str(cause))
    if isinstance(cause, SSLError):
        return Denied(f"Postgres's end of the TLS connection is not trusted: {' '.join(str(cause).split())}", MEND)
    code = getattr(cause, "sqlstate", None) or ""
    if code.startswith(DENIED) or isinstance(cause, ClientConfigurationError):
        return Denied(f"Postgres refuses this user: {' '.join(str(cause).split())}", MEND)
    if isinstance(error, OSError | PoolTimeout) or getattr(error, "connection_invalidated", False):
        return Unavailable(f"Postgres cannot be reached: {cause}")
    if code[:2] in CANNOT_SERVE or (_of_connection(error) and "connection" in str(cause).lower()):
        return Unavailable(f"Postgres cannot be reached: {cause}")
    if code in OTHER_SCHEMA:  # a migration took away what this release uses: whoever opens anew is told which
        return Unavailable(f"the database has another schema: {cause}")
    return None


def _of_connection(error: BaseException) -> bool:
    """Whether it may be about the connection, and not about a value."""
    return isinstance(error, DBAPIError | InterfaceError) and not isinstance(error, DataError)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's errors into those of the port."""
    try:
        yield
    except (DBAPIError, PostgresError, InterfaceError, OSError, PoolTimeout, ClientConfigurationError) as error:
        ours = _translated(error)
        if ours is None:
            raise
        raise ours from error
