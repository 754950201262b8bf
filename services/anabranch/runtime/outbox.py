"""What a batch leads to, and the messages and signals that tell of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from anabranch.domain.deciders import Command
from anabranch.domain.forking import Fork
from anabranch.domain.pending import Owed, announcements, smaller, stopped
from anabranch.domain.recorded import Recorded, Row
from anabranch.domain.state import RunState
from anabranch.runtime.ports import Delivery, Outgoing, Snapshot
from anabranch.runtime.reading import Inbound
from anabranch.runtime.tracing import carried

MOST_BYTES = 15 * 1024 * 1024  # a broker takes 16 MiB by default
NewId = Callable[[], UUID]
Traces = Mapping[UUID, Mapping[str, str]]


@dataclass(slots=True)
class Batch:
    """What one batch leads to, before any of it is stored."""

    states: dict[UUID, RunState] = field(default_factory=dict)
    before: dict[UUID, int] = field(default_factory=dict)
    events: list[Recorded] = field(default_factory=list)
    again: list[tuple[UUID, list[Recorded]]] = field(default_factory=list)
    accepted: list[Inbound] = field(default_factory=list)
    refused: list[tuple[Inbound, str]] = field(default_factory=list)
    left: list[Inbound] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def silent(self) -> dict[UUID, int]:
        """Versions of the runs of which nothing is recorded."""
        changed = {event.run_id for event in self.events}
        return {run_id: state.version for run_id, state in self.states.items() if run_id not in changed}


@dataclass(frozen=True, slots=True)
class Settled:
    """A batch that is stored, and what is still to be told of it; `left` is for services of a newer release."""

    inbound: Sequence[Inbound]
    left: list[Inbound]
    messages: Sequence[Outgoing] = ()
    refused: Sequence[tuple[Inbound, str]] = ()
    stops: Sequence[bytes] = ()


def by_run(events: Sequence[Recorded]) -> dict[UUID, list[Recorded]]:
    """Events of each run, in order."""
    found: dict[UUID, list[Recorded]] = {}
    for event in events:
        found.setdefault(event.run_id, []).append(event)
    return found


def messages(batch: Batch, traces: Traces, new_id: NewId) -> list[Outgoing]:
    """Everything to publish: what the events lead to, those handled before included, and answers to commands."""
    earlier = [event for _, events in batch.again for event in events]
    return [
        message
        for run_id, events in by_run([*earlier, *batch.events]).items()
        for event, owed in announcements(batch.states[run_id], events)
        for message in envelopes(batch.states[run_id], owed, traces.get(event.causation_id, {}), new_id)
    ] + _answers(batch, new_id)


def envelopes(state: RunState, owed: Owed, trace: Mapping[str, str], new_id: NewId) -> list[Outgoing]:
    """The message ready to publish, and its copies to those who await it."""
    body, run_id = orjson.dumps(owed.body), state.key
    if len(body) > MOST_BYTES:
        owed = smaller(owed, len(body), MOST_BYTES)
        body = orjson.dumps(owed.body)
    key, kind = owed.routing_key, owed.type
    out = [Outgoing(key, body, new_id(), kind, run_id, trace, mandatory=not owed.news)] if owed.public else []
    for queue, correlation in owed.replies:
        out.append(Outgoing(key, body, new_id(), kind, correlation or run_id, trace, queue, mandatory=False))
    return out


def _answers(batch: Batch, new_id: NewId) -> list[Outgoing]:
    """That a command was accepted, for whoever asked to be told."""
    return [
        answer(one.delivery, one.run_id, new_id)
        for one in batch.accepted
        if one.delivery.reply_to and isinstance(one.message, Command | Fork)
    ]


def answer(delivery: Delivery, run_id: UUID | None, new_id: NewId, reason: str | None = None) -> Outgoing:
    """What a message came to; of one that could not be read the run is not known."""
    body = {"run_id": run_id and str(run_id), "accepted": reason is None, "reason": reason}
    return Outgoing(
        "command.answered",
        orjson.dumps({name: value for name, value in body.items() if value is not None}),
        new_id(),
        "CommandAnswered",
        delivery.correlation_id or delivery.message_id,
        reply_to_queue=delivery.reply_to,
        mandatory=False,
    )


def again(delivery: Delivery, message_id: UUID, **headers: int) -> Outgoing:
    """A copy of a message that is not handled here, under this identity."""
    return Outgoing(
        delivery.routing_key,
        delivery.body,
        message_id,
        "",
        delivery.correlation_id,
        {**carried(delivery.headers), **headers},
        reply_to=delivery.reply_to,
    )


def stops(batch: Batch) -> list[bytes]:
    """Signals to the workers whose steps are wanted no longer."""
    found = [stopped(batch.states[run_id], events) for run_id, events in by_run(batch.events).items()]
    return [orjson.dumps(one) for one in found if one is not None]


def traces(inbound: Sequence[Inbound]) -> dict[UUID, Mapping[str, str]]:
    """W3C trace context by message, carried on to whatever the message causes."""
    return {one.message_id: trace for one in inbound if (trace := carried(one.delivery.headers))}
