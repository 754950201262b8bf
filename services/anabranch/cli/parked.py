"""Messages that were set aside: look at them, offer them again, drop them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from anabranch.cli.output import as_json, table
from anabranch.runtime import parked
from anabranch.runtime.parked import Parked
from anabranch.runtime.ports import Inbox
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.redacting import redacting
from anabranch.runtime.settings import load, required
from anabranch.runtime.telemetry import configure_logging
from anabranch_contracts.errors import AnabranchError

JSON = Any
PAGE = 50
COLUMNS = ("message_id", "parked_at", "routing_key", "reason", "body")


def list_parked(*, limit: int = PAGE, skip: int = 0, json: bool = False) -> None:
    """List parked messages with their reasons, oldest first. Nothing is taken out or moved.

    Parameters
    ----------
    limit
        how many at the most
    skip
        how many of the oldest to leave out
    json
        print JSON
    """

    async def do() -> tuple[list[dict[str, JSON]], int]:
        async with _opened(skip + limit) as (_, _, found, there):
            return [_row(one) for one in found[skip:]], there

    rows, there = asyncio.run(do())
    table(rows, COLUMNS, json)
    if not json and skip + len(rows) < there:
        print(f"{len(rows)} of {there}; --skip {skip + len(rows)} shows the next", file=sys.stderr)


def show(message_id: str, *, json: bool = False) -> None:
    """Show all of one parked message.

    Parameters
    ----------
    message_id
        its id, or the beginning of it
    json
        print JSON
    """

    async def do() -> Parked:
        async with _opened() as (_, _, found, _):
            return _chosen(found, [message_id])[0]

    one = asyncio.run(do())
    whole = {**_row(one), "correlation_id": one.delivery.correlation_id, "headers": dict(one.delivery.headers)}
    whole["body"] = _pretty(one.delivery.body)
    if json:
        as_json(whole)
        return
    for name in ("message_id", "parked_at", "routing_key", "reason", "correlation_id"):
        print(f"{name:15} {whole[name]}")
    for name, value in sorted(whole["headers"].items()):
        print(f"header {name}: {value}")
    body = whole["body"]
    print(body if isinstance(body, str) else orjson.dumps(body, option=orjson.OPT_INDENT_2).decode())


def replay(*message_ids: str, all: bool = False, json: bool = False) -> int:
    """Offer parked messages to the services again, for instance after a mend; without ids, all that are there now.

    One that is refused again comes back with its new reason. Exit code 1 when some could not be delivered.

    Parameters
    ----------
    message_ids
        their ids, or the beginnings of these
    all
        all of them, said explicitly
    json
        print JSON
    """

    async def do() -> tuple[list[Parked], dict[str, str]]:
        async with _opened() as (transport, inbox, found, _):
            chosen = _chosen(found, message_ids)
            return chosen, await parked.replay(transport, inbox, chosen)

    if all and message_ids:
        raise AnabranchError("ids and --all exclude each other", hint="leave out one of them")
    chosen, stays = asyncio.run(do())
    table([_row(one) for one in chosen if one.id not in stays], COLUMNS[:-1], json)
    for identity, why in stays.items():
        print(f"stays: {identity}: {why}", file=sys.stderr)
    return 1 if stays else 0


def drop(*message_ids: str, all: bool = False, yes: bool = False, json: bool = False) -> None:
    """Remove parked messages for good, and say which.

    Parameters
    ----------
    message_ids
        their ids, or the beginnings of these
    all
        all that are there now
    yes
        do not ask
    json
        print JSON
    """

    async def do() -> list[Parked]:
        async with _opened() as (_, inbox, found, _):
            chosen = _chosen(found, message_ids)
            if chosen and not yes:
                _ask(len(chosen))
            await inbox.ack([one.delivery for one in chosen])
            return chosen

    if all == bool(message_ids):
        raise AnabranchError("say which to drop", hint="`anabranch parked drop ID...`, or --all")
    table([_row(one) for one in asyncio.run(do())], COLUMNS, json)


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        raise AnabranchError(f"{count} messages would be dropped for good", hint="say --yes")
    if input(f"drop {count} messages for good? [y/N] ").strip().lower() not in ("y", "yes"):
        raise AnabranchError("nothing was dropped")


def _chosen(found: Sequence[Parked], ids: Sequence[str]) -> list[Parked]:
    """Those that are named, each by the beginning of its id; all where none is."""
    if not ids:
        return list(found)
    chosen: dict[str, Parked] = {}
    for wanted in ids:
        matching = [one for one in found if one.id.startswith(wanted)]
        if len({one.id for one in matching}) != 1:
            what = "more than one parked message" if matching else "no parked message"
            raise AnabranchError(f"{what} has an id that begins with {wanted!r}", hint="`anabranch parked list`")
        chosen |= {f"{one.id} {place}": one for place, one in enumerate(matching)}
    return list(chosen.values())


@asynccontextmanager
async def _opened(most: int = parked.MOST) -> AsyncIterator[tuple[Any, Inbox, list[Parked], int]]:
    settings = load()
    configure_logging("error", settings.log_format, settings.redaction)  # to stderr: what we print may be JSON
    broker = RabbitTransport(required(settings.amqp_url, "ANABRANCH_AMQP_URL"), settings.queue_type)
    transport = redacting(broker, settings.redaction)
    try:
        await transport.connect()
        async with parked.opened(transport, most) as (inbox, found, there):
            yield transport, inbox, found, there
    finally:
        await transport.close()


def _row(one: Parked) -> dict[str, JSON]:
    return {
        "message_id": one.id,
        "parked_at": one.since,
        "routing_key": one.routing_key,
        "reason": one.reason,
        "body": one.delivery.body[:2000].decode(errors="replace"),
    }


def _pretty(body: bytes) -> JSON:
    """The JSON that it is, or text."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")
