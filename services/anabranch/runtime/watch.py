"""The watch: whatever was lost on the way is noticed and offered again, by itself.

    the broker does not know our mark       it was wiped, or the database was put back: recover everything
    a run came to rest with work to do      a message to the supervisor was lost: wake it
    a step is in nobody's hand              a message to a worker was lost: offer it again

Broker and database share a mark, a name that changes while the log grows. A broker that was wiped or set up from a
copy has none or an old one, a database that was put back to an earlier point has an old one, one that was promoted
or restored elsewhere has another identity: in each case they disagree, and everything that is owed is published.

One process at a time looks: on each connection at once, then every `every` seconds or so. It looks at what has moved
since the last look and at what is in the hands of workers, never at runs that rest.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from anabranch.domain import supervision
from anabranch.domain.pending import pending_steps, wake_up
from anabranch.domain.suspects import Seen, lost, seen
from anabranch.runtime.ids import uuid7
from anabranch.runtime.journal import Attempt, Journal
from anabranch.runtime.marks import agree, forget, known
from anabranch.runtime.outbox import NewId
from anabranch.runtime.ports import Asked, Conflict, Denied, Depth, Lookout, Store, Transport, Unavailable
from anabranch.runtime.recovery import Report, Window, recover, states
from anabranch.runtime.telemetry import OFFERED_AGAIN
from anabranch_contracts.addresses import MARK, step_queue

EVERY_SECONDS = 30.0
NOBODY = Depth(0, 0)
APART = "one database, one virtual host: stop the services of one of them, or give them a database of their own"
Key = tuple[UUID, str, int]
log = structlog.get_logger(__name__)


class Watch:
    """Looks over log and broker; remembers of queues only what it saw there itself."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        clock: Callable[[], datetime],
        new_id: NewId = uuid7,
        every: float = EVERY_SECONDS,
        journal: Journal | None = None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._clock = clock
        self._new_id = new_id
        self._every = every
        self._journal = journal or Journal()
        self._queues: dict[str, Seen] = {}
        self._offered: dict[str, dict[Key, datetime]] = {}
        self._woken: set[UUID] = set()
        self._refused: set[str] = set()
        self._told_elsewhere = False

    async def run(self) -> None:
        """Look at once and then now and again, until cancelled."""
        while True:
            try:
                await self.look()
            except Denied as refusal:  # the service works, and what it may not do was told
                self._deny(refusal)
            except (Conflict, Unavailable):
                raise
            except Exception:  # a defect here costs the safety net, not the service
                log.exception("the watch failed")
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Somewhat shorter or longer than asked, so that several supervisors do not keep in step."""
        chance = self._new_id().int % 1024 / 1024
        pause = self._every * (0.75 + chance / 2)
        if self._journal.again_at is None:
            return pause
        return min(pause, max((self._journal.again_at - self._clock()).total_seconds(), 0.0))

    async def look(self) -> None:
        """One look, unless another process is looking, or has just looked."""
        began = self._clock()
        async with self._store.watch() as held:
            if not held:
                return
            lookout = await self._store.lookout()
            if not await known(self._transport, lookout):
                if await self._is_elsewhere(lookout) or not await self._recover(lookout, began):
                    return
            elif lookout.age < self._every / 2:
                self._journal.agreed = lookout
                return
            else:  # without a mark too: what services have told the broker so far is believed
                await self._sweep(lookout, began)
                if not lookout.moved and lookout.mark is not None:
                    self._journal.agreed = lookout
                    return
            await self._agree(lookout)

    async def _agree(self, lookout: Lookout) -> None:
        """A new mark; none where we may not leave one."""
        try:
            mark: UUID | None = await agree(self._store, self._transport, lookout, self._new_id)
        except Denied as refusal:
            self._deny(refusal)
            mark = None
            await self._store.looked(mark)
            await forget(self._transport, lookout)
        self._journal.agreed = replace(lookout, mark=mark)

    async def _is_elsewhere(self, lookout: Lookout) -> bool:
        """Whether supervisors on another broker agree their marks with this database: both would recover for ever.

        Ours has the last mark that we agreed. The database has one of later, which ours never had.
        """
        ours = self._journal.agreed
        if ours is None or ours.mark in (None, lookout.mark) or lookout.looked_at <= ours.looked_at:
            return False
        if not await known(self._transport, ours):
            return False
        if not self._told_elsewhere:
            log.error("supervisors on another broker or virtual host use this database too", mend=APART)
        self._told_elsewhere = True
        return True

    def _deny(self, refusal: Denied) -> None:
        """Say once what is not done, and what mends it."""
        if str(refusal) not in self._refused:
            self._refused.add(str(refusal))
            log.error("the watch is refused a right", error=str(refusal), mend=refusal.mend)

    async def _recover(self, lookout: Lookout, now: datetime) -> bool:
        """Publish all that is owed, or the rest of it; False where it is too early to try again."""
        if self._journal.again_at is not None and now < self._journal.again_at:
            return False
        attempt = self._journal.attempt = await self._attempt(lookout)
        log.warning("the broker does not know this database's mark: publishing again all that is owed")
        before = attempt.passed
        try:
            report = await self._publish(attempt, now)
        except (Conflict, Unavailable):
            self._journal.failed(self._clock(), ahead=attempt.passed != before)
            raise
        self._journal.done()
        self._tell("broker", report)
        if attempt.mark is not None:
            await self._transport.unmark(attempt.mark)
        return True

    async def _publish(self, attempt: Attempt, now: datetime) -> Report:
        def told(report: Report) -> None:
            attempt.passed = report.passed

        until, after = attempt.of.moment, attempt.passed
        return await recover(self._store, self._transport, now, self._new_id, until=until, after=after, told=told)

    async def _attempt(self, lookout: Lookout) -> Attempt:
        """The one that was cut off, if this broker has what it published; or a new one."""
        last = self._journal.attempt
        if last is not None and last.is_of(lookout) and last.mark and await self._transport.marked(last.mark):
            return last
        mark: str | None = MARK + self._new_id().hex
        try:
            await self._transport.mark(str(mark))
        except Denied as refusal:
            self._deny(refusal)
            mark = None
        return Attempt(lookout, mark)

    async def _sweep(self, lookout: Lookout, now: datetime) -> None:
        if lookout.moved or self._woken:
            await self._wake_standing(now)
        agents = await self._store.asked_agents(now - timedelta(seconds=self._every))
        self._queues = {agent: await self._seen(agent, now) for agent in agents}
        self._offered = {agent: self._offered.get(agent, {}) for agent in agents}
        for agent, queue in self._queues.items():
            if await self._transport.marked(step_queue(agent)):
                await self._offer_buried(agent, now)
            elif queue.empty is not None:
                await self._offer_lost(agent, queue, now)

    async def _wake_standing(self, now: datetime) -> None:
        report, woken = Report(), set()
        window = Window(self._transport, report, self._new_id)
        standing = self._woken.union(await self._store.standing_runs())
        async for state in states(self._store, sorted(standing), report):
            if supervision.due(state, now):
                woken.add(state.run_id)
                await window.add(state, [wake_up(state)])
        await window.flush()
        self._woken = woken
        self._tell("wake-up", report)

    async def _seen(self, agent: str, now: datetime) -> Seen:
        depth = await self._transport.depth(step_queue(agent)) or NOBODY
        if not depth.sure:
            return Seen()
        return seen(self._queues.get(agent, Seen()), depth.ready, depth.consumers, now)

    async def _offer_lost(self, agent: str, queue: Seen, now: datetime) -> None:
        """Look through what is asked of an agent whose queue is empty: no more than its workers can hold, or lost."""
        known, found, report = self._offered[agent], dict[Key, datetime](), Report()
        believed = False
        async for page in self._asked(agent, now):
            found |= {_key(one): known[_key(one)] for one in page if _key(one) in known}
            gone = [one for one in page if lost(queue, found.get(_key(one), one.requested_at), one.timeout, now)]
            if gone and not believed:  # a queue that took one shows what else it has
                await self._offer(gone[:1], report)
                found[_key(gone[0])] = now
                believed, gone = await self._was_empty(agent), gone[1:]
            if believed:
                await self._offer(gone, report)
                found |= {_key(one): now for one in gone}
        self._offered[agent] = found
        self._tell("step", report)

    async def _was_empty(self, agent: str) -> bool:
        """Whether a queue has no more than what was just put into it."""
        depth = await self._transport.depth(step_queue(agent))
        return depth is not None and depth.sure and depth.ready <= 1

    async def _offer_buried(self, agent: str, now: datetime) -> None:
        """Whatever was in a queue that was dead: somebody deleted it, and left a note."""
        report = Report()
        async for page in self._asked(agent, now):
            await self._offer(page, report)
            self._offered[agent] |= {_key(one): now for one in page}
        await self._transport.unmark(step_queue(agent))
        self._tell("queue", report)

    async def _asked(self, agent: str, now: datetime) -> AsyncIterator[list[Asked]]:
        after: UUID | None = None
        while page := await self._store.asked_steps(agent, now, after):
            after = page[-1].run_id
            yield page

    async def _offer(self, steps: Iterable[Asked], report: Report) -> None:
        wanted: dict[UUID, set[tuple[str, int]]] = {}
        for one in steps:
            wanted.setdefault(one.run_id, set()).add((one.step_id, one.attempt))
        window = Window(self._transport, report, self._new_id)
        async for state in states(self._store, sorted(wanted), report):
            await window.add(state, pending_steps(state, wanted[state.run_id]))
        await window.flush()

    def _tell(self, why: str, report: Report) -> None:
        OFFERED_AGAIN.labels(why).inc(report.messages)
        if report.messages or report.skipped:
            log.warning("offered again", lost=why, messages=report.messages, left_out=len(report.skipped))


def _key(asked: Asked) -> Key:
    return asked.run_id, asked.step_id, asked.attempt
