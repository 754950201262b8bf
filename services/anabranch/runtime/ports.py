"""Ports: what the handler needs of the world. Memory and real adapters pass the same conformance suites.

The handler awaits nothing but these calls while it processes a batch, so a simulator may stop, crash or
repeat it at each of them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from anabranch.domain.recorded import Recorded, Row

__all__ = [
    "Asked",
    "Conflict",
    "Delivery",
    "Denied",
    "Depth",
    "Inbox",
    "Lookout",
    "Outgoing",
    "Recorded",
    "Row",
    "Snapshot",
    "Store",
    "Stream",
    "Transport",
    "Unavailable",
    "Undeliverable",
    "Unit",
]


class Unavailable(Exception):
    """A dependency cannot be reached, or not be used; the message says which one, `mend` what to do."""

    mend = "start it, or correct its ANABRANCH_..._URL"


class Denied(Unavailable):
    """A dependency is there and does not let us in: waiting does not help, `mend` says what does."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.mend = mend


class Undeliverable(Unavailable):
    """A message that no queue is there for, or that its queue does not take; the connection is sound."""


class Conflict(Exception):
    """Another writer was first on one of the runs; nothing of the batch was stored."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A disposable cached state: `data` is opaque bytes, valid only for reducers with hash `reducer`."""

    run_id: UUID
    version: int
    reducer: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """What hydrating one run found: a snapshot to start from (or None) and the events after it, in order.

    `unknown` says what this release cannot read: the events are not to be folded.
    """

    snapshot: Snapshot | None
    events: Sequence[Recorded]
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A step that is asked for and not answered; `timeout` in seconds, None = it may take as long as it likes."""

    run_id: UUID
    step_id: str
    attempt: int
    requested_at: datetime
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Lookout:
    """Where the watch stands: `mark` is agreed with the broker, `identity` tells this database from others.

    `looked_at` = when somebody last looked, `age` = seconds since then, both by the database's clock; `moved` = whether
    anything was recorded that nobody has looked at. `moment` = how far the log goes, for `asked_since`; None where its
    order cannot be told: it was restored from a dump, and some of it claims to be of the future.
    """

    identity: str
    mark: UUID | None
    looked_at: datetime
    age: float
    moved: bool
    moment: str | None


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue that nobody holds, and who takes from it; `sure` False = the queue may not have answered."""

    ready: int
    consumers: int
    sure: bool = True


class Unit(Protocol):
    """One transaction over the locked heads of some runs; commits when its context ends without exception."""

    async def read(self, known: Mapping[UUID, int], reducer: str) -> dict[UUID, Stream]:
        """Events after the known version of each run (0 = unknown: latest usable snapshot + the rest)."""
        ...

    async def caused_by(self, messages: Sequence[tuple[UUID, UUID]]) -> dict[UUID, list[Recorded]]:
        """Per message id the events that (run id, message id) caused; ids that caused none are absent."""
        ...

    async def history(self, run_id: UUID) -> list[Recorded]:
        """The whole stream of a run; [] for one that is not known."""
        ...

    async def append(self, events: Sequence[Recorded], rows: Sequence[Row], snapshots: Sequence[Snapshot] = ()) -> None:
        """Store all or nothing; raises `Conflict` when a (run_id, version) is taken."""
        ...


class Store(Protocol):
    """The event store."""

    async def ready(self) -> None:
        """Raises `Unavailable` where it cannot be reached, or its schema is not one for this release."""
        ...

    def unit(self, runs: Sequence[UUID], hold: bool = True) -> AbstractAsyncContextManager[Unit]:
        """Open a transaction, locking the heads of `runs` in id order (unknown runs lock nothing).

        `hold` False = nothing is locked, reads are of different moments, and the append is all of the transaction.
        """
        ...

    def subscribe(self, after: tuple[int, int] = (0, 0), batch: int = 1000) -> AsyncIterator[list[Recorded]]:
        """The whole log in commit-safe order from an (xid, position) cursor; ends when it has caught up."""
        ...

    async def live_runs(self, after: UUID | None = None, limit: int = 1000) -> list[UUID]:
        """Runs whose status is not terminal, in id order, from the one that follows `after`."""
        ...

    async def due_runs(self, now: datetime, limit: int = 1000) -> dict[UUID, datetime]:
        """Runs that have a timer due at `now`, with the moment of the first."""
        ...

    def watch(self) -> AbstractAsyncContextManager[bool]:
        """Hold the watch; False while another process has it."""
        ...

    async def lookout(self) -> Lookout:
        """Where the watch stands."""
        ...

    async def standing_runs(self) -> list[UUID]:
        """Runs that work and of which nothing was recorded since the last look, though there was before it."""
        ...

    async def looked(self, mark: UUID | None) -> None:
        """Note that somebody looked, and the mark now agreed with the broker; None = none could be left there."""
        ...

    async def asked_since(self, moment: str, run_ids: Sequence[UUID]) -> set[tuple[UUID, str, int]]:
        """Steps (run, id, attempt) of these runs that were asked for after that moment of the log."""
        ...

    async def asked_agents(self, before: datetime) -> list[str]:
        """Agents of which a step was asked before then and is not answered."""
        ...

    async def asked_steps(
        self, agent: str, before: datetime, after: UUID | None = None, limit: int = 1000
    ) -> list[Asked]:
        """Steps of the agent that were asked before then and not answered, in the order of the runs after `after`.

        About `limit`: all of a run are told together.
        """
        ...

    async def probe(self) -> None:
        """Whether it answers and takes writes now; raises `Unavailable`."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Delivery:
    """One message as the broker offers it. `tag` is the adapter's own handle."""

    routing_key: str
    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    redelivered: bool = False
    delivery_count: int = 0
    tag: Any = None


class Outgoing(NamedTuple):
    """One message to publish.

    `mandatory` False = news that nobody need listen to. `reply_to_queue` set = to that queue by the default
    exchange, never mandatory.
    """

    routing_key: str
    body: bytes
    message_id: UUID
    type: str
    correlation_id: str | None = None
    headers: Mapping[str, Any] = MappingProxyType({})
    reply_to_queue: str | None = None
    reply_to: str | None = None
    mandatory: bool = True


class Inbox(Protocol):
    """A consumer on one or more queues."""

    @property
    def failed(self) -> bool:
        """Whether it is gone for good, and what was taken from it is offered again by the broker."""
        ...

    async def take(self, limit: int) -> list[Delivery]:
        """Wait for at least one delivery, return what has piled up (at most `limit`); [] once stopped."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """They are done. The broker is told at the end of this turn of the loop."""
        ...

    def flush(self) -> None:
        """The broker is told now: what is begun next may be the last that this process does."""
        ...

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Offer them again at once."""
        ...

    async def untaken(self) -> list[Delivery]:
        """Stop taking, and hand out what has come and was not taken."""
        ...

    async def stop(self) -> None:
        """Stop taking; unacked deliveries may still be acked until the transport closes."""
        ...


class Transport(Protocol):
    """The broker. `publish` raises `Unavailable` (or a foreign error) = outcome unknown, publish again."""

    async def connect(self) -> None:
        """Connect and see that exchange, service queues and the parked queue are there."""
        ...

    async def declare_steps(self, agents: Sequence[str]) -> None:
        """Declare and bind the step queues of `agents`."""
        ...

    async def declare_reply_queue(self) -> str:
        """A queue of one's own for outcomes, gone when the transport closes; returns its name."""
        ...

    async def consume(self, queues: Sequence[str], prefetch: int) -> Inbox: ...

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all, mandatory and confirmed; a step for an agent without a queue gets one declared first."""
        ...

    async def offer_again(self, message: Outgoing) -> bool:
        """Publish a copy of what was taken; False where this party may not, or nobody is there for it."""
        ...

    async def park(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside in the parked queue with header `reason` (and `routing-key`); does not ack."""
        ...

    async def depth(self, queue: str) -> Depth | None:
        """How a queue stands; None where there is none."""
        ...

    async def purge(self, queue: str) -> int:
        """Remove what nobody holds; how many."""
        ...

    async def marked(self, mark: str) -> bool:
        """Whether the broker knows the mark: one that was wiped, or set up from a copy, does not."""
        ...

    async def mark(self, mark: str) -> None:
        """Have the broker know the mark as long as it knows its queues."""
        ...

    async def unmark(self, mark: str) -> None: ...

    async def publish_signal(self, routing_key: str, body: bytes) -> None:
        """Tell whoever listens now; kept for nobody, and never fails."""
        ...

    def listen_signals(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Live signals whose key matches."""
        ...

    def healthy(self) -> bool: ...

    async def probe(self) -> None:
        """Whether a publish is confirmed now; raises `Unavailable`."""
        ...

    def lose(self) -> None:
        """Give the connection up: whoever waits for it gets `Unavailable`."""
        ...

    async def close(self) -> None: ...
