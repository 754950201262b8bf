"""The database a command asks: the one of the environment, the one that runs embedded, or that one, started."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.client import queries
from anabranch.runtime.postgres.embedded import EmbeddedPostgres, running_url
from anabranch.runtime.postgres.schema import WrongSchema, require
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.settings import load
from anabranch_contracts.errors import AnabranchError


class NoDatabase(AnabranchError):
    """There is nothing to ask yet."""


@asynccontextmanager
async def database_url() -> AsyncIterator[str]:
    """The URL, valid for the duration."""
    settings = load()
    async with AsyncExitStack() as stack:
        url = settings.database_url or running_url(settings.data_dir)
        if url is None:
            url = await stack.enter_async_context(EmbeddedPostgres(settings.data_dir))
        yield url


@asynccontextmanager
async def opened_store() -> AsyncIterator[PostgresStore]:
    """The store of a database that this release can use."""
    async with database_url() as url:
        opened = PostgresStore(url)
        try:
            await require(opened.engine)
            yield opened
        except WrongSchema as why:
            raise NoDatabase(str(why), hint=why.mend) from None
        finally:
            await opened.close()


@asynccontextmanager
async def database() -> AsyncIterator[AsyncEngine]:
    """The same, for questions in plain SQL."""
    async with opened_store() as store:
        yield store.engine


async def find(engine: AsyncEngine, run: str) -> UUID:
    """The run whose id starts with `run`; `last` is the newest."""
    if run == "last":
        found = await queries.rows(engine, queries.RUNS, None, 1)
    else:
        found = await queries.rows(engine, queries.FIND, run.lower())
    if len(found) != 1:
        what = "no run" if not found else "more than one run"
        raise AnabranchError(f"{what} matches {run!r}", hint="`anabranch runs` lists them")
    return UUID(str(found[0]["run_id"]))
