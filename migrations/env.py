"""Alembic environment: one async connection, the schema `anabranch`, one advisory lock for all migrators."""

import asyncio
import os
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

from anabranch.runtime.postgres.engine import create_engine

POST = "post_"
ALONE = text("SELECT pg_try_advisory_lock(hashtext('anabranch.migrate'))")


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        version_table_schema="anabranch",
        transaction_per_migration=True,
        on_version_apply=_close,
    )
    with context.begin_transaction():
        context.run_migrations()


def _close(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """From a `post_` migration on, only services that know it may work here: they look for its name."""
    if step.is_upgrade and str(step.up_revision_id).startswith(POST):
        ctx.connection.execute(text(f"COMMENT ON TABLE anabranch.alembic_version IS '{step.up_revision_id}'"))


async def _online(url: str) -> None:
    engine = create_engine(url, command_timeout=None, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            while not (await connection.execute(ALONE)).scalar():  # who waits in a lock holds up an index that is made
                await connection.commit()
                await asyncio.sleep(0.1)
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS anabranch"))
            await connection.commit()
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_online(context.config.get_main_option("sqlalchemy.url") or os.environ["ANABRANCH_DATABASE_URL"]))
