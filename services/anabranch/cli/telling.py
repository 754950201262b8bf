"""Bring a command to the services: over AMQP where they are distributed, else by the embedded engine's mailbox."""

import sys
from typing import Any

from anabranch.cli.database import database
from anabranch.cli.output import as_json
from anabranch.client import mailbox
from anabranch.client.orchestra import connected
from anabranch.runtime.settings import load

JSON = Any


async def tell(key: str, body: dict[str, JSON]) -> bool:
    """Whether the command was accepted already; raises `CommandRefused` with the reason."""
    settings = load()
    if settings.amqp_url is None:
        async with database() as engine:
            return await mailbox.leave(engine, key, body, settings.redaction)
    async with connected(settings) as session:
        await session.command(key, body)
    return True


def report(accepted: bool, said: str, json: bool, **facts: JSON) -> None:
    """Say what became of a command."""
    if json:
        as_json({"accepted": accepted, **facts})
    elif accepted:
        print(said)
    else:
        print("kept: no engine runs on this data folder; the next `anabranch run` or `anabranch dev` takes it up")
        print("  set ANABRANCH_AMQP_URL to reach distributed services", file=sys.stderr)
