"""From a delivery to a step, and from what came of it to the message to publish."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from anabranch.agents.invoke import Answer
from anabranch.runtime.ports import Delivery, Outgoing
from anabranch.runtime.reading import MAX_BYTES, MAX_DEPTH, Unreadable, deeper_than
from anabranch.runtime.tracing import carried
from anabranch_contracts.errors import place
from anabranch_contracts.messages import StepError, StepRequested, Usage

JSON = Any
ROOM_FOR_ENVELOPE = 64 * 1024
LOST = "anabranch-lost"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: `completed` or `failed`, and the fields that say with what."""

    status: str
    fields: dict[str, JSON]


def read_step(delivery: Delivery) -> StepRequested:
    """The step that a delivery asks for; raises `Unreadable`."""
    try:
        step = StepRequested.model_validate_json(delivery.body)
        deadline_of(step)
    except ValidationError as error:
        reasons = "; ".join(f"{place(e['loc']) or 'body'}: {e['msg']}" for e in error.errors()[:20])
        raise Unreadable(reasons) from None
    except ValueError as error:
        raise Unreadable(f"deadline: {error}") from None
    return step


def deadline_of(step: StepRequested) -> datetime | None:
    """When the answer is wanted, in UTC unless it says otherwise; raises ValueError where that is no time."""
    if step.deadline is None:
        return None
    deadline = datetime.fromisoformat(step.deadline)
    return deadline if deadline.tzinfo is not None else deadline.replace(tzinfo=UTC)


def losses(delivery: Delivery) -> int:
    """Workers that were lost with it: as the broker counts, and as was counted before it was handed over."""
    before = delivery.headers.get(LOST)
    return delivery.delivery_count + (max(0, before) if isinstance(before, int) else 0)


def uncounted(delivery: Delivery) -> bool:
    """Whether it was lost with a worker and nobody counts that, as on a classic queue."""
    return delivery.redelivered and not delivery.delivery_count


def seconds_left(step: StepRequested, now: datetime) -> float | None:
    """How long the invocation may take from now; None = as long as it likes."""
    deadline = deadline_of(step)
    if deadline is None:
        return step.timeout
    left = (deadline - now).total_seconds()
    return left if step.timeout is None else min(left, step.timeout)


def failed(error: StepError, usage: Usage | None = None) -> Outcome:
    """The attempt failed, at some cost."""
    return Outcome("failed", {"error": error.model_dump(exclude_none=True), **_cost(usage)})


def _cost(usage: Any) -> dict[str, JSON]:
    """What the agent reported; what it wrote there by hand instead is left out."""
    return {"usage": usage.model_dump(exclude_none=True)} if isinstance(usage, Usage) else {}


def completed(answer: Answer) -> Outcome:
    """The attempt's reply, unless it is one that could not be read at the other end."""
    try:
        encoded = orjson.dumps(answer.reply, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        return _unserialisable(str(error.__cause__ or error), answer.usage)
    if len(encoded) > MAX_BYTES - ROOM_FOR_ENVELOPE:
        why = f"it has {len(encoded)} bytes, the limit is {MAX_BYTES}; hand over a reference"
        return _unserialisable(why, answer.usage)
    if encoded.count(b"[") + encoded.count(b"{") >= MAX_DEPTH and deeper_than(orjson.loads(encoded), MAX_DEPTH - 1):
        return _unserialisable(f"it is nested deeper than {MAX_DEPTH - 1}", answer.usage)
    return Outcome("completed", {"response": orjson.Fragment(encoded), **_cost(answer.usage)})


def _unserialisable(why: str, usage: Usage | None) -> Outcome:
    message = f"the reply cannot be sent: {why}"[:2000]
    return failed(StepError(kind="terminal", type="UnserialisableReply", message=message), usage)


def _plain(value: Any) -> JSON:
    """What orjson does not know, where there is one obvious JSON of it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    raise TypeError(f"{type(value).__name__} is not JSON")


def result_message(
    step: StepRequested,
    outcome: Outcome,
    worker: str,
    lasted: tuple[datetime, datetime],
    delivery: Delivery,
    message_id: UUID,
) -> Outgoing:
    """The result of an attempt, ready to publish; carries the trace of the request on."""
    body = {
        "run_id": step.run_id,
        "branch_id": step.branch_id,
        "step_id": step.step_id,
        "attempt": step.attempt,
        "started_at": lasted[0],
        "finished_at": lasted[1],
        "worker": worker,
        **outcome.fields,
    }
    trace = carried(delivery.headers)
    kind = f"Step{outcome.status.title()}"
    return Outgoing(f"step.{outcome.status}", orjson.dumps(body), message_id, kind, str(step.run_id), headers=trace)
