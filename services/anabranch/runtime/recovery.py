"""Publish again what is still owed: by every live run after the broker was lost, or by timers that fell due.

Runs are read in pages and published in windows, so that memory is bounded by neither. A run that cannot be read or
published is reported and left out: the others do not wait for its mend.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import orjson
import structlog

from anabranch.domain.pending import Owed, pending
from anabranch.domain.state import RunState
from anabranch.runtime.handler import utcnow
from anabranch.runtime.hydrating import Hydrated, hydrate
from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import NewId, envelopes
from anabranch.runtime.ports import Conflict, Outgoing, Store, Transport, Unavailable, Undeliverable

PAGE = 50
WINDOW, WINDOW_BYTES = 512, 8 * 1024 * 1024
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Report:
    """How many live runs were looked at, how many messages published, and which runs were left out, and why.

    `passed` = up to and with this run, in the order of ids, all is published.
    """

    runs: int = 0
    messages: int = 0
    passed: UUID | None = None
    skipped: dict[UUID, str] = field(default_factory=dict)

    def skip(self, run_id: UUID, why: str) -> None:
        """The run was left out."""
        self.skipped[run_id] = why[:2000]
        log.error("run left out", run_id=str(run_id), why=self.skipped[run_id])


async def recover(
    store: Store,
    transport: Transport,
    now: datetime | None = None,
    new_id: NewId = uuid7,
    only: Iterable[UUID] | None = None,
    until: str | None = None,
    after: UUID | None = None,
    told: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Publish everything pending of every live run, or of `only` these.

    Only of those that follow `after`, and only steps that were asked for `until` that moment of the log, where given.
    """
    report, due = Report(), now or utcnow()
    window = Window(transport, report, new_id)
    async for page in _pages(store, only, after):
        async for batch in batches(store, page, report):
            newer = await _asked_since(store, until, batch)
            for state in batch:
                report.runs += 1
                await window.add(state, pending(state, due, newer.get(state.run_id, ())))
        await window.flush()
        report.passed = page[-1] if page else None
        told(report)
    return report


async def _asked_since(store: Store, until: str | None, batch: Sequence[RunState]) -> dict[UUID, set[tuple[str, int]]]:
    """By run, the steps that were asked for after that moment; asked after the states were read, so none is missed."""
    found: dict[UUID, set[tuple[str, int]]] = {}
    if until is not None:
        for run_id, step_id, attempt in await store.asked_since(until, [state.run_id for state in batch]):
            found.setdefault(run_id, set()).add((step_id, attempt))
    return found


async def _pages(store: Store, only: Iterable[UUID] | None, after: UUID | None) -> AsyncIterator[list[UUID]]:
    if only is not None:
        yield list(only)
        return
    while page := await store.live_runs(after):
        yield page
        after = page[-1]


async def states(store: Store, run_ids: Sequence[UUID], report: Report) -> AsyncIterator[RunState]:
    """The states of these runs, one after the other; one that cannot be read is left out."""
    async for batch in batches(store, run_ids, report):
        for state in batch:
            yield state


async def batches(store: Store, run_ids: Sequence[UUID], report: Report) -> AsyncIterator[list[RunState]]:
    """The same, as many at once as are read at once."""
    for start in range(0, len(run_ids), PAGE):
        page = await _hydrated(store, run_ids[start : start + PAGE], report)
        for run_id, why in page.newer.items():
            report.skip(run_id, why)
        yield list(page.states.values())


async def _hydrated(store: Store, run_ids: Sequence[UUID], report: Report) -> Hydrated:
    try:
        async with store.unit(()) as unit:
            return await hydrate(unit, dict.fromkeys(run_ids))
    except (Conflict, Unavailable):
        raise
    except Exception as why:  # whatever is wrong with one stream is not wrong with the others
        if len(run_ids) == 1:
            report.skip(run_ids[0], f"{type(why).__name__}: {why}")
            return Hydrated()
    alone = [await _hydrated(store, [run_id], report) for run_id in run_ids]
    return Hydrated(
        {run_id: state for one in alone for run_id, state in one.states.items()},
        {run_id: why for one in alone for run_id, why in one.newer.items()},
    )


class Window:
    """Messages on their way, published when there are many."""

    def __init__(self, transport: Transport, report: Report, new_id: NewId) -> None:
        self._transport = transport
        self._new_id = new_id
        self._report = report
        self._messages: list[tuple[UUID, Outgoing]] = []
        self._bytes = 0

    async def add(self, state: RunState, owed: Iterable[Owed]) -> None:
        """Take what a run owes; where that fails the run is left out."""
        try:
            for one in owed:
                for message in envelopes(state, one, {}, self._new_id):
                    self._messages.append((state.run_id, message))
                    self._bytes += len(message.body)
                if len(self._messages) >= WINDOW or self._bytes >= WINDOW_BYTES:
                    await self.flush()
        except Unavailable:
            raise
        except Exception as why:
            self._report.skip(state.run_id, f"{type(why).__name__}: {why}")

    async def flush(self) -> None:
        """Publish what was taken; what is refused keeps back only its own run."""
        messages, self._messages, self._bytes = self._messages, [], 0
        try:
            await self._transport.publish([message for _, message in messages])
            self._report.messages += len(messages)
        except Undeliverable:
            await self._one_by_one(messages)

    async def _one_by_one(self, messages: Sequence[tuple[UUID, Outgoing]]) -> None:
        for run_id, message in messages:
            try:
                await self._transport.publish([message])
                self._report.messages += 1
            except Undeliverable as why:
                self._report.skip(run_id, str(why))


class Alarms:
    """Wakes the supervisor for runs with a timer due: at once, and ever less often while the same one stays due."""

    def __init__(self, store: Store, transport: Transport, new_id: NewId = uuid7) -> None:
        self._store = store
        self._transport = transport
        self._new_id = new_id
        self._woken: dict[UUID, tuple[datetime, datetime, float]] = {}

    async def ring(self, now: datetime, newer: Collection[UUID] = ()) -> int:
        """Wake whoever is to be woken now and is not a newer release's; how many."""
        due = {run_id: at for run_id, at in (await self._store.due_runs(now)).items() if run_id not in newer}
        self._woken = {run_id: woken for run_id, woken in self._woken.items() if due.get(run_id) == woken[0]}
        calling = [run_id for run_id in due if run_id not in self._woken or self._woken[run_id][1] <= now]
        if calling:
            await self._transport.publish([_wake_up(run_id, self._new_id) for run_id in calling])
        for run_id in calling:
            pause = min(2 * self._woken[run_id][2], LONGEST_PAUSE) if run_id in self._woken else FIRST_PAUSE
            self._woken[run_id] = (due[run_id], now + timedelta(seconds=pause), pause)
        return len(calling)


async def wake(
    store: Store, transport: Transport, now: datetime, new_id: NewId = uuid7, newer: Collection[UUID] = ()
) -> int:
    """Wake the supervisor for every run that has a timer due, and is not a newer release's; returns how many."""
    return await Alarms(store, transport, new_id).ring(now, newer)


def _wake_up(run_id: UUID, new_id: NewId) -> Outgoing:
    return Outgoing("run.recover", orjson.dumps({"run_id": str(run_id)}), new_id(), "RecoverRun", str(run_id))
