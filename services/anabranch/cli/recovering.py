"""Publish again what is owed: after the broker was lost, for one run, or after the database was put back."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from anabranch.cli.database import find, opened_store
from anabranch.cli.output import as_json
from anabranch.client import queries
from anabranch.runtime import recovery
from anabranch.runtime.ids import uuid7
from anabranch.runtime.marks import agree, known
from anabranch.runtime.ports import Denied, Store, Transport
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.recovery import Report
from anabranch.runtime.restoring import Cleared, clear
from anabranch.runtime.settings import load, required
from anabranch.runtime.telemetry import configure_logging

Told = Callable[[Report], None]


def recover(*, run: str | None = None, after_restore: bool = False, json: bool = False) -> int:
    """Publish again everything that live runs still owe. Safe at any time, and to repeat.

    Supervisors do this by themselves when the broker was wiped or the database restored; this is for whoever does
    not want to wait. Steps that a worker has in hand are offered once more. Exit code 1 when runs were left out.

    Parameters
    ----------
    run
        only this run (the beginning of its id, or `last`)
    after_restore
        the database was put back to an earlier point: first set aside, as parked messages, the results of steps that
        are still in queues; requests, commands and answers stay. Stop all services before
    json
        print JSON
    """
    report, cleared = asyncio.run(_recover(run, after_restore, json))
    if json:
        as_json(_facts(report, cleared))
    else:
        _say(report, cleared)
    return 1 if report.skipped else 0


async def _recover(run: str | None, after_restore: bool, json: bool) -> tuple[Report, Cleared | None]:
    settings = load()
    configure_logging(
        "critical", settings.log_format, settings.redaction
    )  # what is left out, or set aside, is in what we print
    transport = RabbitTransport(required(settings.amqp_url, "ANABRANCH_AMQP_URL"), settings.queue_type)
    async with opened_store() as store:
        cleared = None
        only = None if run is None else [await find(store.engine, run)]
        try:
            await transport.connect()
            async with _watch(store) as held:
                if after_restore:
                    agents = await queries.rows(store.engine, queries.AGENTS)
                    cleared = await clear(transport, [row["agent"] for row in agents])
                with _progress(json) as told:
                    report = await recovery.recover(store, transport, only=only, told=told)
                if held and only is None:
                    await _agree(store, transport)
            return report, cleared
        finally:
            await transport.close()


@asynccontextmanager
async def _watch(store: Store) -> AsyncIterator[bool]:
    """Keep supervisors from doing the same; False where one is at it, or this user may not."""
    async with AsyncExitStack() as stack:
        try:
            held = await stack.enter_async_context(store.watch())
        except Denied:  # migrated by an older release: supervisors that start will publish once more
            held = False
        yield held


async def _agree(store: Store, transport: Transport) -> None:
    """Supervisors that start afterwards find nothing to do."""
    lookout = await store.lookout()
    if not await known(transport, lookout):
        await agree(store, transport, lookout, uuid7)


@contextmanager
def _progress(json: bool) -> Iterator[Told]:
    """Shown on a terminal, for people."""
    if json or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading the log") as status:
        yield lambda report: status.update(f"{report.runs} runs, {report.messages} messages")


def _facts(report: Report, cleared: Cleared | None) -> dict[str, Any]:
    left_out = {str(run_id): why for run_id, why in report.skipped.items()}
    facts: dict[str, Any] = {"published": report.messages, "runs": report.runs, "left_out": left_out}
    if cleared is not None:
        facts |= {"kept": cleared.kept, "parked": cleared.parked, "dropped": cleared.dropped}
    return facts


def _say(report: Report, cleared: Cleared | None) -> None:
    if cleared is not None:
        print(f"{cleared.parked} results parked, {cleared.kept} requests and commands kept, {cleared.dropped} dropped")
    print(f"{report.messages} messages of {report.runs} runs published again")
    for run_id, why in report.skipped.items():
        print(f"left out: {run_id}: {why}", file=sys.stderr)
