"""Erase what a run was about."""

import asyncio
from getpass import getuser

from anabranch.cli.database import database, find
from anabranch.cli.output import as_json
from anabranch.runtime.postgres import erasing
from anabranch.runtime.postgres.erasing import Erasure
from anabranch_contracts.errors import AnabranchError


def erase(
    run: str,
    *,
    reason: str = "not given",
    by: str | None = None,
    forks: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Erase what a run that is over was about: tasks, answers, results. Its shape stays; nothing brings them back.

    Who did it, when and why is kept in the table `erasures`. Copies elsewhere (parked messages, backups, logs)
    are not reached: ops/docs/erasure.md lists them.

    Parameters
    ----------
    run
        the run's id, or its beginning
    reason
        why, for the record
    by
        who wants it, for the record (default: your name on this machine)
    forks
        also all runs that were forked from it, which hold a copy of its past
    yes
        really do it
    json
        print JSON
    """
    if not yes:
        raise AnabranchError("nothing was erased: it cannot be undone", hint="say --yes")

    async def do() -> Erasure:
        async with database() as engine:
            return await erasing.erase(engine, await find(engine, run), by or getuser(), reason, forks)

    _tell(asyncio.run(do()), json)


def _tell(done: Erasure, json: bool) -> None:
    if json:
        as_json({"erased": {str(run): n for run, n in done.events.items()}, "copies": [str(r) for r in done.copies]})
        return
    for run, events in done.events.items():
        print(f"run {run}: {events} events erased" if events else f"run {run} was erased already")
    for run in done.copies:
        print(f"run {run} shares some of its past and still holds that; erase it too")
