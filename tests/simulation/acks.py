"""What was acked, the broker will not offer again: so whatever it asked for must have been done by then.

By services: an event of its own is stored, or it was parked, or there was nothing to do at some moment between its
sending and its ack; and whoever wanted an answer had one. By workers: the result was published, a copy was offered to
others, or the step was wanted no longer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from anabranch.agent_worker.steps import LOST
from anabranch.domain.recorded import Recorded
from anabranch.runtime.ports import Delivery, Outgoing
from anabranch_contracts import events as e
from tests.simulation.outsiders import CLIENT, COMMANDS, RUBBISH

JSON = Any
NEVER = 10**9
ENDS = (e.RunCompleted, e.RunFailed, e.RunCancelled, e.RunRejected)
ANSWERED = (e.StepCompleted, e.StepSuspended, e.StepRejected, e.StepFailed)
GONE = (e.BranchCompleted, e.BranchFailed, e.BranchCancelled, e.BranchMerged)
HEARD = ("step.completed", "step.failed", "user.provided", "run.checkpoint")
ASKED = ("run.requested", "run.fork")
RESULTS = ("step.completed", "step.failed")
Streams = dict[str, list[Recorded]]
Step = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Ack:
    """A delivery, when it was taken and acked (in steps of the loop), and what was stored and answered by then."""

    delivery: Delivery
    taken: int
    acked: int
    stored: int
    answered: bool


class Ledger:
    """What was sent, published and acked in one world."""

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.parked: list[tuple[Delivery, str]] = []
        self.acked: list[Ack] = []
        self.worked: list[Ack] = []
        self._outcomes: set[str] = set()
        self._answers: set[str] = set()
        self._results: list[tuple[bytes, int]] = []
        self._copies: dict[bytes, list[int]] = {}

    def published(self, message: Outgoing, now: int) -> None:
        """The broker has it."""
        if message.routing_key in RESULTS:
            self._results.append((message.body, now))
        elif LOST in message.headers:
            self._copies.setdefault(message.body, []).append(now)

    def replied(self, message: Outgoing) -> None:
        """Somebody outside was told."""
        told = self._answers if message.routing_key == "command.answered" else self._outcomes
        told.add(f"{message.reply_to_queue} {message.correlation_id}")

    def ack(self, role: str, deliveries: Iterable[Delivery], taken: dict[Any, int], now: int, stored: int) -> None:
        """The broker will not offer these again."""
        acks = self.worked if role == "worker" else self.acked
        acks += [Ack(d, taken.get(d.tag, now), now, stored, self._is_answered(d)) for d in deliveries]

    def _is_answered(self, one: Delivery) -> bool:
        """Whether who waits for an answer has it; who asks for a run waits for its outcome."""
        mine = f"{one.reply_to} {one.correlation_id or one.message_id}"
        return not one.reply_to or one.routing_key == "run.requested" or mine in self._answers

    def told(self, run_id: UUID) -> bool:
        """Whether the client was told the run's outcome."""
        return f"{CLIENT} {run_id}" in self._outcomes

    def lost(self, streams: Streams) -> Iterator[str]:
        """What was acked too early, or for nothing."""
        first, parked = firsts(streams), {d.message_id for d, _ in self.parked}
        for ack in self.acked:
            one = ack.delivery
            if not ack.answered:
                yield _told(one, "was not answered")
            if (
                one.message_id not in parked
                and ack.stored < first.get(_owed(one), NEVER)
                and not self._idle(ack, streams)
            ):
                yield _told(one, "was forgotten")
        results = {_step(body): now for body, now in reversed(self._results) if body not in RUBBISH}
        for ack in self.worked:
            one = ack.delivery
            if one.message_id not in parked and not self._served(ack, results, streams):
                yield _told(one, "was dropped by a worker")

    def _idle(self, ack: Ack, streams: Streams) -> bool:
        """Whether there was nothing to do for a command, at some moment while it was on its way."""
        key, body = ack.delivery.routing_key, ack.delivery.body
        if key not in COMMANDS or body in RUBBISH:
            return False
        command = orjson.loads(body)
        sent = self.sent[str(ack.delivery.message_id)]
        return any(_needless(key, command, *at) for at in _moments(streams[command["run_id"]], sent, ack.stored))

    def _served(self, ack: Ack, results: dict[JSON, int], streams: Streams) -> bool:
        body = ack.delivery.body
        if any(ack.taken <= now <= ack.acked for now in self._copies.get(body, ())):
            return True
        if body in RUBBISH:
            return False
        step = _step(body)
        return results.get(step, NEVER) <= ack.acked or not _awaited(step, streams, ack.stored)


def _told(delivery: Delivery, what: str) -> str:
    return f"{delivery.routing_key} {delivery.body[:300]!r} {what}"


def _step(body: bytes) -> Step:
    step = orjson.loads(body)
    return step["run_id"], step["step_id"], step["attempt"]


def firsts(streams: Streams) -> dict[Any, int]:
    """The position in the log of the first event by each message, of each run, and of each run's end."""
    found: dict[Any, int] = {None: 0}
    for run_id, events in streams.items():
        found["begun", run_id] = events[0].position
        for r in events:
            found.setdefault(str(r.causation_id), r.position)
            if isinstance(r.event, ENDS):
                found["over", run_id] = r.position
    return found


def _owed(delivery: Delivery) -> Any:
    """What must be stored before a message is acked: an event of its own, of its run, or nothing."""
    key = delivery.routing_key
    if key in HEARD or key in COMMANDS or delivery.body in RUBBISH:
        return delivery.message_id
    return ("begun", delivery.correlation_id) if key in ASKED else None


def _moments(events: Iterable[Recorded], since: int, until: int) -> Iterator[tuple[bool, bool, frozenset[str]]]:
    """Whether the run was paused, whether over, and who lived, at `since` and after each event to `until`."""
    paused = over = False
    live: set[str] = set()
    for one in events:
        if one.position > until:
            break
        if one.position > since:
            yield paused, over, frozenset(live)
        event = one.event
        over = over or isinstance(event, ENDS)
        paused = not over and (
            isinstance(event, e.RunPaused) or (paused and not isinstance(event, e.RunResumed | e.RunForked))
        )
        if isinstance(event, e.BranchSpawned):
            live.add(event.branch_id)
        elif isinstance(event, e.BranchConverged):  # what met there is one from then on
            live.difference_update(event.tokens)
            live.add(event.into_branch_id)
        elif isinstance(event, GONE):
            live.discard(event.branch_id)
    yield paused, over, frozenset(live)


def _needless(key: str, command: JSON, paused: bool, over: bool, live: frozenset[str]) -> bool:
    match key:
        case "run.pause":
            return over or paused
        case "run.resume":
            return over or not paused
        case "run.cancel":
            return over or ("branch_id" in command and command["branch_id"] not in live)
        case _:
            return False


def _awaited(step: Step, streams: Streams, stored: int) -> bool:
    """Whether the run waited for the step's result then."""
    run_id, *attempt = step
    branch_id = None
    for one in streams[run_id]:
        event = one.event
        if one.position > stored:
            break
        if isinstance(event, e.StepRequested) and [event.step_id, event.attempt] == attempt:
            branch_id = event.branch_id
        elif isinstance(event, ENDS) or (isinstance(event, (*GONE, *ANSWERED)) and event.branch_id == branch_id):
            branch_id = None
    return branch_id is not None
