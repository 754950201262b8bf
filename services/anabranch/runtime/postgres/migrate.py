"""Bring a database to the schema of this release."""

import asyncio
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.runtime.postgres.engine import create_engine, sqlalchemy_url
from anabranch.runtime.postgres.store import translated

MIGRATIONS = Path(__file__).parents[2] / "_migrations"  # a link to the top level, files in a wheel

_ALEMBIC = Lock()  # its environment is a global of the process; between processes the database locks


def _config(database_url: str = "") -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(database_url).replace("%", "%%"))
    return config


async def upgrade(database_url: str) -> None:
    """Apply all outstanding migrations; several at once wait for each other."""
    if await current(database_url) != newest():
        await asyncio.to_thread(_upgrade, database_url)


def _upgrade(database_url: str) -> None:
    with _ALEMBIC:
        command.upgrade(_config(database_url), "head")


def newest() -> str:
    """The revision this release needs."""
    head = ScriptDirectory.from_config(_config("postgresql://")).get_current_head()
    assert head is not None
    return head


async def current(database_url: str) -> str | None:
    """The revision the database has; None for an empty one."""
    engine = create_engine(database_url)
    try:
        async with translated():
            return await _version(engine)
    finally:
        await engine.dispose()


async def _version(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        there = await connection.execute(text("SELECT to_regclass('anabranch.alembic_version')"))
        if there.scalar() is None:
            return None
        row = await connection.execute(text("SELECT version_num FROM anabranch.alembic_version"))
        found: str | None = row.scalar()
        return found
