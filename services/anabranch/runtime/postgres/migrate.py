"""Bring a database to the schema of this release, all at once or in the two phases of a rolling deploy."""

import asyncio
from collections.abc import Sequence
from itertools import takewhile
from threading import Lock
from typing import Literal

from alembic import command
from alembic.config import Config

from anabranch.runtime.postgres import schema
from anabranch.runtime.postgres.schema import PRE, chain, current
from anabranch_contracts.errors import AnabranchError

Phase = Literal["pre", "post", "all"]
_ALEMBIC = Lock()  # its environment is a global of the process; between processes the database locks


class WrongPhase(AnabranchError):
    """The migrations of this phase cannot be applied now."""


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    return config


async def upgrade(database_url: str, phase: Phase = "all") -> Sequence[str]:
    """Apply the outstanding migrations of a phase; several at once wait for each other.

    Returns what is left for the phase `post`. A database of a newer release is left as it is.
    """
    here = await current(database_url)
    known = chain()
    if here is not None and here not in known:
        return []
    outstanding = known[known.index(here) + 1 :] if here is not None else known
    now = outstanding if here is None else _of_phase(outstanding, phase)  # nobody works on an empty database
    if now:
        await asyncio.to_thread(_upgrade, database_url, now[-1])
    return outstanding[len(now) :]


def _of_phase(outstanding: list[str], phase: Phase) -> list[str]:
    """The first of the outstanding migrations, as far as the phase goes; raises `WrongPhase`."""
    first = list(takewhile(lambda name: name.startswith(PRE), outstanding))
    later = [name for name in outstanding[len(first) :] if name.startswith(PRE)]
    if phase == "pre" and later:
        raise WrongPhase(
            f"{later[0]} comes after {outstanding[len(first)]}, which an earlier release left for later",
            hint="that release's `anabranch migrate --phase post` first; or stop all services, then `--phase all`",
        )
    if phase == "post" and (first or later):
        raise WrongPhase(
            f"{[*first, *later][0]} is not applied yet",
            hint="`anabranch migrate`, then every service, then `--phase post`",
        )
    return first if phase == "pre" else outstanding


def _upgrade(database_url: str, revision: str) -> None:
    with _ALEMBIC:
        command.upgrade(_config(database_url), revision)
