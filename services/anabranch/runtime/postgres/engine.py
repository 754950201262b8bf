"""Connections: one small pool a process, JSON through orjson, and the port's errors for the driver's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from asyncpg.exceptions import DeadlockDetectedError, SerializationError, UniqueViolationError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from anabranch.runtime.ports import Conflict, Unavailable

LOST_RACES = (UniqueViolationError, DeadlockDetectedError, SerializationError)
# connection, transaction (read only, idle too long), authorisation, no such database, resources, operator, system
CANNOT_SERVE = ("08", "25", "28", "3D", "53", "57", "58")
OTHER_SCHEMA = ("42P01", "42703", "42883", "3F000")  # no such table, column, function, schema
COMMAND_SECONDS = 30
SESSION = {
    "application_name": "anabranch",
    "idle_in_transaction_session_timeout": "10s",  # who stops in the middle must not hold the locks of its runs
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",  # nor who has vanished from the network
}


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver we use; `postgres://` and `postgresql://` are accepted."""
    parsed: URL = make_url(url.replace("postgres://", "postgresql://", 1))
    return parsed.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def create_engine(url: str, pool_size: int = 5) -> AsyncEngine:
    """An engine that answers or fails soon: connections are checked before use."""
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={"timeout": 10, "command_timeout": COMMAND_SECONDS, "server_settings": SESSION},
    )


def _translated(error: BaseException) -> Exception | None:
    """Our error for a driver's; None where it is a defect of ours and should be seen as it is."""
    cause = getattr(getattr(error, "orig", None), "__cause__", None) or error
    if isinstance(cause, LOST_RACES):
        return Conflict(str(cause))
    if isinstance(error, OSError | PoolTimeout) or getattr(error, "connection_invalidated", False):
        return Unavailable(f"Postgres cannot be reached: {cause}")
    code = getattr(cause, "sqlstate", None) or ""
    if isinstance(error, DBAPIError) and (code[:2] in CANNOT_SERVE or "connection" in str(cause).lower()):
        return Unavailable(f"Postgres cannot be reached: {cause}")
    if code in OTHER_SCHEMA:  # a migration took away what this release uses: whoever opens anew is told which
        return Unavailable(f"the database has another schema: {cause}")
    return None


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's errors into those of the port."""
    try:
        yield
    except (DBAPIError, OSError, PoolTimeout) as error:
        ours = _translated(error)
        if ours is None:
            raise
        raise ours from error
