"""From bytes to a message: the one place where outside data is checked.

What cannot be read is `Unreadable` and will be parked; what can be read but not run (a wrong topology, say) goes
on as a message, so that the rules can answer its sender.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import orjson
from pydantic import BaseModel, ValidationError

from anabranch.domain.deciders import Input
from anabranch.domain.forking import Fork
from anabranch.domain.intake import Request
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery
from anabranch_contracts import messages as m
from anabranch_contracts.addresses import answerable
from anabranch_contracts.errors import place

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 100
FOREIGN = UUID("8a6e1c52-6f57-4b0c-9a0e-0f5a7c1f2b11")

MODELS: dict[str, type[BaseModel]] = {
    "step.completed": m.StepCompleted,
    "step.failed": m.StepFailed,
    "step.rejected": m.BranchNews,  # as `branch.*`: of routers of an earlier release, who leave what is due to others
    "user.requested": m.BranchNews,
    "user.provided": m.UserInputProvided,
    "run.cancel": m.CancelRun,
    "run.pause": m.PauseRun,
    "run.resume": m.ResumeRun,
    "run.checkpoint": m.CheckpointRun,
    "run.recover": m.RecoverRun,
}


class Unreadable(Exception):
    """The delivery cannot be understood; says why."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A delivery, its message, the run it is for, and the identity under which it causes events."""

    delivery: Delivery
    message: Input
    run_id: UUID
    message_id: UUID


def read(delivery: Delivery) -> Inbound:
    """Decode and check a delivery; raises `Unreadable`."""
    if delivery.reply_to and not answerable(delivery.reply_to):
        raise Unreadable(f"reply_to {delivery.reply_to[:100]!r} is a queue of the services; name one of your own")
    body = _decode(delivery.body)
    identity = identity_of(delivery)
    key = delivery.routing_key
    message: Input
    if key == "run.requested":
        message = _request(delivery, body)
    elif key == "run.fork":
        message = _fork(delivery, body, identity)
    elif key.startswith("branch."):
        message = _validated(m.BranchNews, body)
    elif key in MODELS:
        message = _validated(MODELS[key], body)
    else:
        raise Unreadable(f"routing key {key!r} is not one of this service")
    return Inbound(delivery, message, message.run_id, identity)


def _decode(body: bytes) -> Any:
    if len(body) > MAX_BYTES:
        raise Unreadable(f"the body has {len(body)} bytes, the limit is {MAX_BYTES}")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"the body is not JSON in UTF-8: {error}") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        raise Unreadable(f"the body is nested deeper than {MAX_DEPTH}")
    return without_nul(value) if b"\\u0000" in body else value


def deeper_than(value: Any, limit: int) -> bool:
    """Whether containers are nested more than `limit` deep."""
    layer = [value]
    for _ in range(limit + 1):
        layer = [c for v in layer if isinstance(v, dict | list) for c in (v.values() if isinstance(v, dict) else v)]
        if not layer:
            return False
    return True


def without_nul(value: Any) -> Any:
    """The value with NUL characters, which Postgres cannot store, shown as U+FFFD."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [without_nul(v) for v in value]
    if isinstance(value, dict):
        return {without_nul(k): without_nul(v) for k, v in value.items()}
    return value


def _validated(model: type[BaseModel], body: Any) -> Any:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        reasons = "; ".join(f"{place(e['loc']) or 'body'}: {e['msg']}" for e in error.errors()[:20])
        raise Unreadable(reasons) from None


def identity_of(delivery: Delivery) -> UUID:
    """The message id, if need be derived from what the sender gave, so that a redelivery has the same.

    Pause and resume undo each other: said again without an id, they are meant again.
    """
    given = _uuid(delivery.message_id)
    if given is not None:
        return given
    if delivery.message_id:
        return uuid5(FOREIGN, delivery.message_id)
    if delivery.routing_key in ("run.pause", "run.resume"):
        return uuid7()
    return uuid5(FOREIGN, f"{delivery.routing_key}\n{delivery.body.decode(errors='replace')}")


def _request(delivery: Delivery, body: Any) -> Request:
    if not isinstance(body, dict):
        raise Unreadable("the body of run.requested must be a JSON object")
    named = body.get("run_id")
    run_id = _uuid(named) if named is not None else identity_of(delivery) if delivery.message_id else uuid7()
    if run_id is None:
        raise Unreadable(f"run_id: {str(named)[:100]!r} is not a UUID")
    return Request(run_id, body, delivery.reply_to, delivery.correlation_id)


def _fork(delivery: Delivery, body: Any, identity: UUID) -> Fork:
    """A new run; its id, if none is given, is derived from the message, so that a redelivery has the same."""
    command = _validated(m.ForkRun, body)
    run_id = command.new_run_id or uuid5(command.run_id, str(identity))
    return Fork(run_id, command, delivery.reply_to, delivery.correlation_id)


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
