"""Connections: one small pool a process, JSON through orjson."""

from typing import Any

import orjson
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


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
        connect_args={"timeout": 10, "command_timeout": 60, "server_settings": {"application_name": "anabranch"}},
    )
