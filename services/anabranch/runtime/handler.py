"""The pipeline of a deciding service, one batch at a time:

    read -> lock heads -> hydrate -> recall -> decide -> append events + rows -> publish -> ack
            `------------------------- settle ----------------------------'    `--- tell ---'

The log is the inbox: a message that was redelivered, or that the state has outgrown, is looked up by the events
it caused. If there are any it was handled before, perhaps by a process that died before publishing: what those
events still owe is published again. The input queue is the outbox: nothing is acked before its messages are
confirmed. While a batch is handled this module awaits nothing but its ports, so each await is a crash point
that a simulator can use.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import structlog

from anabranch.domain.deciders import Decider
from anabranch.domain.forking import Fork
from anabranch.domain.intake import Request
from anabranch.domain.projections import draw_rows, forget_touches
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch.runtime import outbox
from anabranch.runtime.cache import StateCache, freeze, reducer_hash, snapshot_due
from anabranch.runtime.hydrating import Hydrated, hydrate, outdated
from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import Batch, Settled
from anabranch.runtime.ports import Conflict, Delivery, Inbox, Store, Transport, Unavailable, Unit
from anabranch.runtime.reading import Inbound, Unreadable, read
from anabranch.runtime.solitude import Solitude
from anabranch.runtime.telemetry import (
    APPEND_SECONDS,
    CONFLICTS,
    DECIDE_SECONDS,
    LEFT,
    MESSAGES,
    PARKED,
    PUBLISH_SECONDS,
)
from anabranch_contracts.addresses import STOP_SIGNAL, answerable
from anabranch_contracts.catalog import UnknownEvent

MAX_CONFLICTS = 20
Held = AbstractAsyncContextManager[None]
NOBODY_ELSE: Held = nullcontext()  # the runs of a batch are still in hand
log = structlog.get_logger(__name__)


def utcnow() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Handler:
    """Runs batches of deliveries through a decider."""

    def __init__(
        self,
        decider: Decider,
        store: Store,
        transport: Transport,
        clock: Callable[[], datetime] = utcnow,
        new_id: Callable[[], UUID] = uuid7,
        cache: StateCache | None = None,
    ) -> None:
        self._decider = decider
        self._store = store
        self._transport = transport
        self._clock = clock
        self._new_id = new_id
        self._cache = cache or StateCache()
        self._deciding = DECIDE_SECONDS.labels(decider.actor)
        self._appending = APPEND_SECONDS.labels(decider.actor)
        self._publishing = PUBLISH_SECONDS.labels(decider.actor)
        self._counted, self._left = MESSAGES.labels(decider.actor), LEFT.labels(decider.actor)
        self._solitude = Solitude()
        self.newer: set[UUID] = set()
        reducer_hash()  # of the code that is loaded now, whatever is installed beside it later

    @property
    def service(self) -> str:
        """Whose rules run here, for metrics."""
        return self._decider.actor

    async def read(self, deliveries: Sequence[Delivery], inbox: Inbox) -> list[Inbound]:
        """Those that can be read; the others are parked and acked."""
        readable, unreadable = list[Inbound](), list[Delivery]()
        for delivery in deliveries:
            try:
                readable.append(read(delivery))
            except Unreadable as why:
                await self._park(delivery, str(why))
                unreadable.append(delivery)
        await self._ack(unreadable, inbox)
        return readable

    async def settle(self, inbound: Sequence[Inbound]) -> Settled:
        """Decide and store a batch; its runs may then be in another one, before this one is told of.

        Batches may be handled side by side where they have no run in common. Raises `Conflict` or `Unavailable`.
        """
        try:
            return await self._settle(inbound)
        except (Conflict, Unavailable):
            raise
        except Exception:
            return Settled(inbound, await self._one_by_one(inbound))

    async def tell(self, settled: Settled, inbox: Inbox, held: Held = NOBODY_ELSE) -> list[Inbound]:
        """Publish what a batch leads to, then ack it; raises `Unavailable` with nothing acked that was not told of.

        Its runs are `held` should its messages have to be settled again. What it returns is not acked: it is for runs
        that only a newer release can fold.
        """
        left = settled.left
        try:
            await self._publish(settled)
        except (Conflict, Unavailable):
            raise
        except Exception:
            async with held:
                left = await self._one_by_one(settled.inbound)
        unhandled = {id(one) for one in left}
        await self._ack([one.delivery for one in settled.inbound if id(one) not in unhandled], inbox)
        return left

    async def _ack(self, deliveries: Sequence[Delivery], inbox: Inbox) -> None:
        if deliveries:
            await inbox.ack(deliveries)
            self._counted.inc(len(deliveries))

    async def _settle(self, inbound: Sequence[Inbound]) -> Settled:
        batch = await self._stored(inbound)
        messages = outbox.messages(batch, outbox.traces(inbound), self._new_id)
        return Settled(inbound, batch.left, messages, batch.refused, outbox.stops(batch))

    async def _publish(self, settled: Settled) -> None:
        if settled.messages:
            with self._publishing.time():
                await self._transport.publish(settled.messages)
        for one, reason in settled.refused:  # after what may fail and is done again, for a park is not
            await self._park(one.delivery, reason, one.run_id)
        for signal in settled.stops:
            await self._transport.publish_signal(STOP_SIGNAL, signal)

    async def _one_by_one(self, inbound: Sequence[Inbound]) -> list[Inbound]:
        """A defect of ours shows on one message: park that one, serve the others, never loop.

        What the batch had stored before is found in the log, as of a redelivery.
        """
        left: list[Inbound] = []
        for one in inbound:
            one.delivery.redelivered = True
            try:
                alone = await self._settle([one])
                await self._publish(alone)
                left += alone.left
            except (Conflict, Unavailable):
                raise
            except Exception as defect:
                log.exception("defect", routing_key=one.delivery.routing_key, run_id=str(one.run_id))
                reason = f"defect in the {self.service}: {type(defect).__name__}: {defect}"
                await self._park(one.delivery, reason, one.run_id)
        return left

    async def _park(self, delivery: Delivery, reason: str, run_id: UUID | None = None) -> None:
        """Set the message aside, and tell its sender why, if somebody waits to be told."""
        PARKED.labels(self.service).inc()
        await self._transport.park(delivery, reason)
        if delivery.reply_to and answerable(delivery.reply_to):
            await self._transport.publish([outbox.answer(delivery, run_id, self._new_id, reason)])

    async def _stored(self, inbound: Sequence[Inbound]) -> Batch:
        """Decide and store; whoever was second reads again and decides again."""
        for _ in range(MAX_CONFLICTS):
            try:
                return await self._decide_and_store(inbound, self._solitude.holds(inbound))
            except Conflict:
                CONFLICTS.labels(self.service).inc()
                self._solitude.disturbed()
        raise Conflict(f"{MAX_CONFLICTS} times another writer was first")

    async def _decide_and_store(self, inbound: Sequence[Inbound], alone: bool) -> Batch:
        run_ids = sorted({one.run_id for one in inbound})
        batch = Batch()
        try:
            async with self._store.unit(run_ids, hold=not alone) as unit:
                believed = await self._hydrate(unit, run_ids, batch, alone)
                inbound = await self._foldable(unit, inbound, batch)
                handled = await self._recall(unit, inbound, batch)
                with self._deciding.time():
                    self._decide(inbound, handled, batch)
                    self._draw(batch)
                if believed and await outdated(unit, batch.silent()):
                    raise Conflict("another writer has been at it")
                if batch.events:
                    with self._appending.time():
                        await unit.append(batch.events, batch.rows, batch.snapshots)
        except BaseException:
            for run_id in run_ids:  # the turn consumed the states: what was not stored must not be believed
                self._cache.drop(run_id)
            raise
        for state in batch.states.values():
            self._cache.put(state)
        return batch

    async def _hydrate(self, unit: Unit, run_ids: Sequence[UUID], batch: Batch, alone: bool) -> bool:
        """Whether the states are those of the cache, and the log was not asked."""
        cached = {run_id: self._cache.get(run_id) for run_id in run_ids}
        kept = {run_id: state for run_id, state in cached.items() if state is not None}
        believed = alone and len(kept) == len(cached)
        found = Hydrated(kept) if believed else await hydrate(unit, cached)
        for run_id, state in found.states.items():
            forget_touches(state)
            batch.states[run_id], batch.before[run_id] = state, state.version
        for run_id, why in found.newer.items():
            self._leave(run_id, why)
        return believed

    def _leave(self, run_id: UUID, why: str) -> None:
        if run_id not in self.newer:
            log.warning("left to a newer release", service=self.service, run_id=str(run_id), why=why)
        self.newer.add(run_id)

    async def _foldable(self, unit: Unit, inbound: Sequence[Inbound], batch: Batch) -> list[Inbound]:
        """The messages whose runs can be folded here; the others are left."""
        found: list[Inbound] = []
        for one in inbound:
            try:
                found += [await self._with_source(unit, one)] if one.run_id in batch.states else []
            except UnknownEvent as why:
                self._leave(one.run_id, str(why))
        known = {id(one.delivery) for one in found}
        batch.left = [one for one in inbound if id(one.delivery) not in known]
        self._left.inc(len(batch.left))
        return found

    async def _with_source(self, unit: Unit, one: Inbound) -> Inbound:
        """A fork is decided with the stream that it starts from in hand."""
        if not isinstance(one.message, Fork):
            return one
        return replace(one, message=one.message.with_source(await unit.history(one.message.command.run_id)))

    async def _recall(self, unit: Unit, inbound: list[Inbound], batch: Batch) -> dict[UUID, list[Recorded]]:
        suspects = [
            (one.run_id, one.message_id)
            for one in inbound
            if one.delivery.redelivered or self._decider.stale(batch.states[one.run_id], one.message)
        ]
        caused = await unit.caused_by(suspects) if suspects else {}
        own = {identity: [e for e in events if self._own(batch, e)] for identity, events in caused.items()}
        return {identity: events for identity, events in own.items() if events}

    def _own(self, batch: Batch, event: Recorded) -> bool:
        """Whether the event was decided here: not by another service, nor in the past of another run."""
        past = batch.states[event.run_id].forked_at_version or 0
        return event.actor == self._decider.actor and event.version > past

    def _decide(self, inbound: list[Inbound], handled: dict[UUID, list[Recorded]], batch: Batch) -> None:
        seen: set[tuple[UUID, UUID, str | None]] = set()
        for one in inbound:
            to = one.delivery.reply_to if isinstance(one.message, Request | Fork) else None  # another one awaits it too
            state, identity = batch.states[one.run_id], (one.run_id, one.message_id, to)
            earlier = handled.get(one.message_id)
            if earlier and identity not in seen:
                batch.again.append((one.run_id, earlier))
                batch.accepted.append(one)
            if identity not in seen and not (earlier and self._decider.stale(state, one.message)):
                self._decide_one(one, state, batch)
            seen.add(identity)

    def _decide_one(self, one: Inbound, state: RunState, batch: Batch) -> None:
        turn = Turn(state, self._clock(), one.message_id, self._decider.actor)
        try:
            self._decider.decide(turn, one.message)
        except Refused as why:
            batch.refused.append((one, str(why)))
        else:
            batch.accepted.append(one)
        batch.events.extend(turn.events)

    def _draw(self, batch: Batch) -> None:
        for run_id in dict.fromkeys(event.run_id for event in batch.events):
            state = batch.states[run_id]
            batch.rows.extend(draw_rows(state))
            if snapshot_due(batch.before[run_id], state):
                batch.snapshots.append(freeze(state))
