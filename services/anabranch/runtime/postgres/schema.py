"""Which schema a database has, and whether this release can use it.

Migrations are one chain of files, numbered: `pre_` ones add, so that services of the release before still work;
`post_` ones take away what only older releases used. A database may be ahead of a service by any number of `pre_`
migrations. One that had a `post_` migration that the service does not know is closed to it: env.py leaves the name
of the last one as the comment of the version table.
"""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.runtime.ports import Unavailable
from anabranch.runtime.postgres.engine import create_engine, translated

MIGRATIONS = Path(__file__).parents[2] / "_migrations"  # a link to the top level, files in a wheel
PRE, POST = "pre_", "post_"
_VERSION = text("SELECT version_num FROM anabranch.alembic_version")
_CLOSED = text("SELECT obj_description('anabranch.alembic_version'::regclass)")


class WrongSchema(Unavailable):
    """The database has a schema that this release cannot use."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


def chain() -> list[str]:
    """All revisions of this release, in order."""
    names = ["_".join(path.stem.split("_")[:2]) for path in (MIGRATIONS / "versions").glob("p*_*.py")]
    return sorted(names, key=lambda name: name.partition("_")[2])


def newest() -> str:
    """The last revision of this release."""
    return chain()[-1]


def needed() -> str:
    """The revision without which the services of this release do not work."""
    return [name for name in chain() if name.startswith(PRE)][-1]


async def current(database_url: str) -> str | None:
    """The revision the database has; None for an empty one."""
    engine = create_engine(database_url)
    try:
        return (await _stated(engine))[0]
    finally:
        await engine.dispose()


async def _stated(engine: AsyncEngine) -> tuple[str | None, str | None]:
    """The revision, and the last `post_` migration."""
    async with translated(), engine.connect() as connection:
        there = await connection.execute(text("SELECT to_regclass('anabranch.alembic_version')"))
        if there.scalar() is None:
            return None, None
        revision: str | None = (await connection.execute(_VERSION)).scalar()
        closed: str | None = (await connection.execute(_CLOSED)).scalar()
        return revision, closed


async def require(engine: AsyncEngine) -> str:
    """The database's revision; raises `WrongSchema` where this release cannot work with it."""
    revision, closed = await _stated(engine)
    known = chain()
    if revision is None:
        raise WrongSchema("the database is empty", "run `anabranch migrate`, or a first `anabranch demo`")
    if closed is not None and closed not in known:
        said = f"the database is at {revision}, changed by {closed} of a newer release for good"
        raise WrongSchema(said, "upgrade this service, or name another database")
    if revision in known and known.index(revision) < known.index(needed()):
        raise WrongSchema(f"the database is at {revision}, this release needs {needed()}", "run `anabranch migrate`")
    return revision
