"""Look at runs: lists, one run, its trace, its events, live."""

import asyncio

from anabranch.cli.database import database, find
from anabranch.cli.output import as_json, short, table
from anabranch.cli.tree import run_tree
from anabranch.client import queries
from anabranch.client.progress import OUTCOMES, line
from anabranch.client.terminal import tame_json


def runs(*, status: str | None = None, limit: int = 20, json: bool = False) -> None:
    """List the newest runs.

    Parameters
    ----------
    status
        only runs with this status
    limit
        how many at most
    json
        print JSON
    """

    async def ask() -> None:
        async with database() as engine:
            found = await queries.rows(engine, queries.RUNS, status, limit)
        columns = ("run_id", "status", "total_steps", "branch_count", "requested_at", "total_duration", "task")
        table(found, columns, json)

    asyncio.run(ask())


def show(run: str = "last", *, json: bool = False) -> None:
    """Show one run: status, result, metrics.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    json
        print JSON
    """

    async def ask() -> None:
        async with database() as engine:
            row = await queries.run(engine, await find(engine, run))
        assert row is not None
        if json:
            as_json(row)
            return
        hidden = ("topology", "config", "labels", "forked_from", "forked_at_version")
        for name, value in row.items():
            if name not in hidden:
                print(f"{name:22} {short(value, 2000)}")

    asyncio.run(ask())


def trace(run: str = "last", *, json: bool = False) -> None:
    """Show a run's branches and steps as a tree, with durations.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    json
        print JSON
    """

    async def ask() -> None:
        async with database() as engine:
            run_id = await find(engine, run)
            head = await queries.run(engine, run_id)
            branches = await queries.rows(engine, queries.BRANCHES, run_id)
            steps = await queries.rows(engine, queries.STEPS, run_id)
            meetings = await queries.rows(engine, queries.CONVERGENCES, run_id)
        if json:
            as_json({"run": head, "branches": branches, "steps": steps, "convergences": meetings})
            return
        from rich.console import Console

        assert head is not None
        Console(highlight=False).print(run_tree(head, branches, steps, meetings))

    asyncio.run(ask())


def events(run: str = "last", *, after: int = 0, json: bool = False) -> None:
    """List a run's events, the truth about it.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    after
        only events after this version
    json
        print JSON
    """

    async def ask() -> None:
        async with database() as engine:
            found = await queries.rows(engine, queries.EVENTS, await find(engine, run), after)
        table(found, ("version", "recorded_at", "actor", "type", "data"), json)

    asyncio.run(ask())


def watch(run: str = "last", *, json: bool = False) -> None:
    """Follow a run live until its outcome.

    Parameters
    ----------
    run
        the run's id, or its beginning, or `last`
    json
        print each event as a line of JSON
    """
    asyncio.run(_follow(run, json))


async def _follow(run: str, json: bool) -> None:
    import orjson

    async with database() as engine:
        run_id, version = await find(engine, run), 0
        while True:
            for event in await queries.rows(engine, queries.EVENTS, run_id, version):
                version = event["version"]
                said = tame_json(orjson.dumps(event, default=str).decode()) if json else line(event)
                if said is not None:
                    print(said, flush=True)
                if event["type"] in OUTCOMES - {"RunStarted"}:
                    return
            await asyncio.sleep(0.25)
