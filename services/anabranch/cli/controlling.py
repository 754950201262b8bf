"""Control runs: cancel, pause, resume, checkpoints, forks."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from anabranch.cli.database import database, find
from anabranch.cli.output import table
from anabranch.cli.running import as_object
from anabranch.cli.telling import report, tell
from anabranch.cli.topology import read_topology
from anabranch.client import queries
from anabranch.client.orchestra import checked
from anabranch.runtime.ids import uuid7
from anabranch_contracts.errors import AnabranchError

JSON = Any


async def _find(run: str) -> UUID:
    async with database() as engine:
        return await find(engine, run)


async def _find_live(run: str, branch: str | None) -> UUID:
    """The run; raises where there is nothing left of it, or of its branch, to command."""
    async with database() as engine:
        run_id = await find(engine, run)
        outcome = await queries.outcome(engine, run_id)
        if outcome is not None:
            raise AnabranchError(f"run {run_id} is {outcome['status']} already", hint="`anabranch fork` begins anew")
        if branch is not None and not await queries.rows(engine, queries.BRANCH, run_id, branch):
            raise AnabranchError(f"run {run_id} has no branch {branch!r}", hint="`anabranch trace` lists them")
    return run_id


def _command(key: str, run: str, done: str, json: bool, branch: str | None = None, **fields: JSON) -> None:
    async def do() -> tuple[UUID, bool]:
        run_id = await _find_live(run, branch)
        return run_id, await tell(key, {"run_id": str(run_id), **fields})

    run_id, accepted = asyncio.run(do())
    report(accepted, f"run {run_id} {done}", json, run_id=str(run_id))


def cancel(run: str, *, branch: str | None = None, reason: str = "cancelled", json: bool = False) -> None:
    """End a run, or one branch with everything inside; running agents are told to stop.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    branch
        only this branch
    reason
        why, for the record
    json
        print JSON
    """
    _command("run.cancel", run, "is cancelled" if branch is None else f"goes on without {branch}", json,
             branch, branch_id=branch, reason=reason)  # fmt: skip


def pause(run: str, *, reason: str = "paused", json: bool = False) -> None:
    """Start nothing new in a run; results of running steps are still recorded.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    reason
        why, for the record
    json
        print JSON
    """
    _command("run.pause", run, "is paused", json, reason=reason)


def resume(run: str, *, json: bool = False) -> None:
    """Go on with a paused run.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    json
        print JSON
    """
    _command("run.resume", run, "goes on", json)


def create_checkpoint(run: str, name: str, *, json: bool = False) -> None:
    """Name the present version of a run.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    name
        a name that the run does not have yet
    json
        print JSON
    """

    async def do() -> tuple[UUID, bool]:
        run_id = await _find(run)
        return run_id, await tell("run.checkpoint", {"run_id": str(run_id), "name": name})

    run_id, accepted = asyncio.run(do())
    report(accepted, f"run {run_id} has checkpoint {name!r}", json, run_id=str(run_id))


def list_checkpoints(run: str = "last", *, json: bool = False) -> None:
    """List a run's checkpoints; those that begin with `auto:` were made where paths converged.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    json
        print JSON
    """

    async def ask() -> None:
        async with database() as engine:
            found = await queries.rows(engine, queries.CHECKPOINTS, await find(engine, run))
        table(found, ("name", "version", "created_at", "checkpoint_id"), json)

    asyncio.run(ask())


def fork(run: str, *, at: str, topology: Path | None = None, context: str | None = None, json: bool = False) -> None:
    """Start a new run from another's past; completed steps are not run again. Prints the new run's id.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    at
        a version, a checkpoint's name or id, or a step's id
    topology
        a file with the topology that replaces the source's
    context
        JSON object that replaces the source's context
    json
        print JSON
    """
    new_run_id = str(uuid7())
    body: dict[str, JSON] = {"at": int(at) if at.isdigit() else at, "new_run_id": new_run_id}
    if topology is not None:
        body["topology"] = orjson.loads(orjson.dumps(checked(read_topology(topology)).canonical()))
    if context is not None:
        body["context"] = as_object(context)

    async def do() -> bool:
        return await tell("run.fork", {"run_id": str(await _find(run)), **body})

    report(asyncio.run(do()), new_run_id, json, run_id=new_run_id)
