"""Operate the store: migrate, verify and rebuild projections."""

import asyncio
from collections.abc import Sequence

from anabranch.cli.database import database_url, opened_store
from anabranch.cli.output import as_json
from anabranch.runtime.postgres import migrate as migrations
from anabranch.runtime.postgres import rebuild as projections
from anabranch.runtime.postgres.schema import current


def migrate(*, phase: migrations.Phase = "pre", json: bool = False) -> None:
    """Bring the database to the schema of this release; safe to repeat and to run twice at once.

    Parameters
    ----------
    phase
        pre: all that services of this release need, harmless to those of the last one, before they are replaced;
        post: what is left, after every service was replaced; all: both, while no service runs.
        An empty database gets all of it
    json
        print JSON
    """

    async def do() -> tuple[str | None, Sequence[str]]:
        async with database_url() as url:
            left = await migrations.upgrade(url, phase)
            return await current(url), left

    revision, left = asyncio.run(do())
    if json:
        as_json({"revision": revision, "left": left})
        return
    print(f"the database is at {revision}")
    if left:
        print(f"  left for later: {', '.join(left)}; when every service is of this release: `migrate --phase post`")


def verify(*, json: bool = False) -> int:
    """Compare the tables of every run with a replay of its events. Exit code 1 when they differ.

    Parameters
    ----------
    json
        print JSON
    """

    async def do() -> list[str]:
        async with opened_store() as store:
            return await projections.verify(store)

    differences = asyncio.run(do())
    if json:
        as_json({"equal": not differences, "differences": differences})
    else:
        print("\n".join(differences) or "equal: the tables are what the events say")
    return 1 if differences else 0


def rebuild(*, json: bool = False) -> None:
    """Write the tables of every run anew from its events, run by run, while services work.

    Parameters
    ----------
    json
        print JSON
    """

    async def do() -> int:
        async with opened_store() as store:
            return await projections.rebuild(store)

    count = asyncio.run(do())
    as_json({"runs": count}) if json else print(f"{count} runs rebuilt")
