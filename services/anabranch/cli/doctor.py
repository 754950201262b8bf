"""Look at every dependency and say what is wrong, with the mend."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from anabranch.cli.output import as_json

Finding = dict[str, Any]


def doctor(*, json: bool = False) -> int:
    """Check Postgres, its schema, RabbitMQ, runs that are stuck and steps that wait for a worker.

    Parameters
    ----------
    json
        print JSON
    """
    findings = asyncio.run(_examine())
    if json:
        as_json(findings)
    else:
        for one in findings:
            print(f"{'ok  ' if one['ok'] else 'FAIL'}  {one['what']}: {one['said']}")
    return 0 if all(one["ok"] for one in findings) else 3


async def _examine() -> list[Finding]:
    findings = [await _asked("database", _database), await _asked("broker", _broker)]
    if findings[0]["ok"]:
        findings += [await _asked("stuck branches", _stuck), await _asked("waiting steps", _waiting)]
    return findings


async def _asked(what: str, ask: Callable[[], Awaitable[tuple[bool, str]]]) -> Finding:
    try:
        ok, said = await ask()
    except Exception as error:  # whatever is wrong with a dependency is the finding
        ok, said = False, f"{error} {getattr(error, 'hint', None) or getattr(error, 'mend', '')}".strip()
    return {"what": what, "ok": ok, "said": said}


async def _database() -> tuple[bool, str]:
    from anabranch.cli.database import database
    from anabranch.runtime.postgres.schema import require

    async with database() as engine:
        return True, f"answers, schema {await require(engine)}"


async def _broker() -> tuple[bool, str]:
    from anabranch.runtime.rabbitmq.transport import RabbitTransport
    from anabranch.runtime.settings import load

    settings = load()
    if settings.amqp_url is None:
        return True, "embedded (ANABRANCH_AMQP_URL is not set)"
    transport = RabbitTransport(settings.amqp_url, settings.queue_type)
    try:
        await transport.connect()
    finally:
        await transport.close()
    return True, "answers"


async def _stuck() -> tuple[bool, str]:
    from anabranch.cli.database import database
    from anabranch.client import queries

    async with database() as engine:
        found = await queries.rows(engine, queries.STUCK)
    return not found, f"{len(found)}; `anabranch recover` publishes what is owed" if found else "none"


async def _waiting() -> tuple[bool, str]:
    from anabranch.cli.database import database
    from anabranch.client import queries

    async with database() as engine:
        found = await queries.rows(engine, queries.WAITING)
    said = ", ".join(f"{r['agent']}: {r['steps']} since {r['since']:%H:%M:%S}" for r in found)
    return True, said or "none"
