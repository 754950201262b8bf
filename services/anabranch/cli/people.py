"""Questions that wait for a person, and their answers."""

import asyncio
from typing import Any

from anabranch.cli.database import database
from anabranch.cli.output import table
from anabranch.cli.running import as_value
from anabranch.cli.telling import report, tell
from anabranch.client import queries
from anabranch_contracts.errors import AnabranchError

JSON = Any


def inbox(*, limit: int = 50, json: bool = False) -> None:
    """List the questions that wait for a person, oldest first.

    Parameters
    ----------
    limit
        how many at most
    json
        print JSON, with the schemas that answers must fit
    """

    async def ask() -> None:
        async with database() as engine:
            found = await queries.rows(engine, queries.INBOX, limit)
        table(found, ("request_id", "agent", "kind", "prompt", "choices"), json)

    asyncio.run(ask())


def respond(request_id: str, value: str, *, run: str | None = None, json: bool = False) -> None:
    """Answer a question.

    Parameters
    ----------
    request_id
        the request's id, or its beginning, as `anabranch inbox` shows it
    value
        JSON is taken as JSON, anything else as text; for failures `retry`, `skip` or `abort`
    run
        the run's id, where a fork left the same question open in two runs
    json
        print JSON
    """

    async def do() -> tuple[str, bool]:
        async with database() as engine:
            found = await queries.rows(engine, queries.REQUEST, request_id.lower())
        row = _one([r for r in found if run is None or str(r["run_id"]).startswith(run)], request_id)
        body = {"run_id": str(row["run_id"]), "request_id": str(row["request_id"]), "value": _value(value, row)}
        return str(row["request_id"]), await tell("user.provided", body)

    identity, accepted = asyncio.run(do())
    report(accepted, f"request {identity} is answered", json, request_id=identity)


def _one(found: list[dict[str, JSON]], request_id: str) -> dict[str, JSON]:
    still_open = [r for r in found if r["status"] == "open"]
    if len(still_open) == 1:
        return still_open[0]
    if still_open:
        raise AnabranchError(
            f"more than one open question matches {request_id!r}", hint="give more of the id, or --run"
        )
    if found:
        raise AnabranchError(f"question {request_id!r} is {found[0]['status']} already", hint="`anabranch inbox`")
    raise AnabranchError(f"no question matches {request_id!r}", hint="`anabranch inbox` lists them")


def _value(text: str, row: dict[str, JSON]) -> JSON:
    """JSON, unless the text as it stands is one of the choices."""
    return text if text in (row["choices"] or ()) else as_value(text)
