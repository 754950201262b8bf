"""Alembic environment: one async connection, the schema `anabranch`, one advisory lock for all migrators."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


def _run(connection: Connection) -> None:
    context.configure(connection=connection, version_table_schema="anabranch", transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _online(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(hashtext('anabranch.migrate'))"))
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS anabranch"))
            await connection.commit()
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_online(context.config.get_main_option("sqlalchemy.url") or os.environ["ANABRANCH_DATABASE_URL"]))
