"""Ask a person, and check what comes back: choices and JSON Schemas (semantics 8)."""

from collections.abc import Sequence
from typing import Any

import orjson

from anabranch.domain.clocks import after
from anabranch.domain.schemas import Unusable, mismatch, prepare
from anabranch.domain.sizes import MAX_QUESTION, size, too_much
from anabranch.domain.state import Branch, Fork, UserRequest
from anabranch.domain.turn import Turn
from anabranch_contracts.events import UserInputRequested
from anabranch_contracts.replies import AskUser
from anabranch_contracts.reply_notation import question

JSON = Any
DECISIONS = ("retry", "skip", "abort")
PARTS = {"prompt", "choices", "schema", "timeout", "default"}


class Unaskable(Exception):
    """The question cannot be asked; says why."""


def askable(asked: AskUser) -> None:
    """Check that the question can be answered at all; raises `Unaskable`."""
    why = too_much("prompt and choices have", size([asked.prompt, asked.choices]), MAX_QUESTION)
    if why is not None:
        raise Unaskable(why)
    if asked.schema is not None:
        try:
            prepare(asked.schema)
        except Unusable as error:
            raise Unaskable(str(error)) from None
    if asked.timeout is not None:
        reason = misfit(asked.default, asked.choices, asked.schema)
        if reason is not None:
            raise Unaskable(f"the default, which is the answer when time is up, {reason}")


def misfit(value: JSON, choices: Sequence[JSON] | None, schema: JSON) -> str | None:
    """Why an answer does not fit; None when it does."""
    if choices is not None and not any(_same(value, choice) for choice in choices):
        return f"is not one of {orjson.dumps(list(choices)).decode()[:500]}"
    return None if schema is None else mismatch(value, schema)


def _same(one: JSON, other: JSON) -> bool:
    """Equal as JSON, where true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def as_question(value: JSON) -> AskUser:
    """What reached a `User` node, read as a question: an object with a prompt, or the prompt itself."""
    if isinstance(value, dict) and "prompt" in value and value.keys() <= PARTS:
        asked = question(value)
        if isinstance(asked, AskUser):
            try:
                askable(asked)
                return asked
            except Unaskable:
                pass
    return AskUser(value)


def ask(turn: Turn, branch: Branch, asked: AskUser, kind: str, returns_to: str | None, user: str | None = None) -> None:
    """Open a user request for a branch; the answer to a question at node `user` goes to `returns_to`."""
    expires = after(turn.now, asked.timeout).isoformat() if asked.timeout is not None else None
    turn.record(
        UserInputRequested(
            request_id=turn.identity(f"{kind}/{branch.id}/{branch.asks + 1}"),
            branch_id=branch.id,
            agent=branch.agent,
            kind=kind,
            prompt=asked.prompt,
            choices=asked.choices,
            schema=asked.schema,
            returns_to=returns_to,
            user=user,
            expires_at=expires,
            default=asked.default,
        )
    )


def ask_about_step(turn: Turn, branch: Branch, error: dict[str, JSON]) -> None:
    """What went wrong with a step is for a person to decide."""
    step = branch.step
    assert step is not None
    prompt = {"what": f"{step.agent} failed: {error['message']}"[:2000], "error": error, "step_id": step.id}
    identity = turn.identity(f"error/{step.id}/{step.attempt}")
    turn.record(UserInputRequested(identity, branch.id, step.agent, "error", prompt, list(DECISIONS)))


def ask_about_fork(turn: Turn, fork: Fork, why: str) -> None:
    """What failed in a fork is for a person to decide."""
    what = f"{fork.failed} of {fork.invocations} failed: {why}"[:2000]
    prompt = {"what": what, "causes": [cause for _, cause in fork.causes]}
    identity = turn.identity(f"fork/{fork.id}/{fork.asks}")
    turn.record(
        UserInputRequested(identity, fork.owner or "", fork.node, "fork", prompt, list(DECISIONS), fork_id=fork.id)
    )


def decision(request: UserRequest, value: JSON) -> tuple[str, JSON, str | None]:
    """An error decision: what, with which new request (`...` = the same), or why it is none."""
    body = value if isinstance(value, dict) else {"decision": value}
    what = body.get("decision")
    if what not in DECISIONS:
        return "", ..., 'is no decision; answer "retry", "skip" or "abort", or {"decision", "request"}'
    if body.keys() - {"decision", "request"}:
        return "", ..., f"has unknown parts: {', '.join(sorted(body.keys() - {'decision', 'request'}))[:200]}"
    if "request" in body and (request.kind == "fork" or what != "retry"):
        return "", ..., "has a request, which only the retry of one step can have"
    return str(what), body.get("request", ...), None
