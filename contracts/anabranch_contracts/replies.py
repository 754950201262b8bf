"""What an agent may answer: any JSON is content, a dict with `next_action` is an action (semantics 3)."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

JSON = Any
Updates = dict[str, JSON] | None


class BranchType(Enum):
    """What a branch has been through; the most specific it has earned."""

    SIMPLE = "simple"
    CONVERSATION = "conversation"
    NESTED = "nested"
    USER_INTERACTION = "user_interaction"


@dataclass(frozen=True, slots=True)
class Content:
    """Plain content: the topology routes it."""

    value: JSON
    context_updates: Updates = None
    action: ClassVar[str] = "content"


@dataclass(frozen=True, slots=True)
class Invoke:
    """Move to one agent."""

    agent: str
    request: JSON = None
    context_updates: Updates = None
    action: ClassVar[str] = "invoke_agent"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One of several parallel invocations."""

    agent: str
    request: JSON = None


@dataclass(frozen=True, slots=True)
class Parallel:
    """Open a fork."""

    invocations: list[Invocation]
    context_updates: Updates = None
    action: ClassVar[str] = "parallel_invoke"


@dataclass(frozen=True, slots=True)
class Final:
    """The branch is done; deliver the value."""

    value: JSON
    context_updates: Updates = None
    action: ClassVar[str] = "final_response"


@dataclass(frozen=True, slots=True)
class AskUser:
    """Wait for a person; the answer returns to the asking agent."""

    prompt: JSON
    choices: JSON = None
    schema: JSON = None
    context_updates: Updates = None
    action: ClassVar[str] = "ask_user"


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The same step again, later."""

    after_seconds: float
    context_updates: Updates = None
    action: ClassVar[str] = "retry_later"


@dataclass(frozen=True, slots=True)
class ErrorRecovery:
    """The agent asks for help by a person."""

    error: JSON
    context_updates: Updates = None
    action: ClassVar[str] = "error_recovery"


@dataclass(frozen=True, slots=True)
class Terminal:
    """The agent gives up."""

    error: JSON
    context_updates: Updates = None
    action: ClassVar[str] = "terminal_error"


@dataclass(frozen=True, slots=True)
class Malformed:
    """An action that cannot be read; says why."""

    reason: str
    context_updates: Updates = field(default=None)
    action: ClassVar[str] = "malformed"


Reply = Content | Invoke | Parallel | Final | AskUser | RetryLater | ErrorRecovery | Terminal | Malformed


def parse_reply(value: JSON) -> Reply:
    """Read a reply; never raises."""
    if not isinstance(value, dict) or "next_action" not in value:
        return Content(value)
    updates = value.get("context_updates")
    if updates is not None and not isinstance(updates, dict):
        return Malformed("context_updates must be an object")
    action = value["next_action"]
    reader = _READERS.get(action) if isinstance(action, str) else None
    if reader is None:
        return Malformed(f"next_action {str(action)[:80]!r} is not one of {', '.join(_READERS)}")
    return reader(value, updates)


def _fallback(value: dict[str, JSON]) -> JSON:
    return value["request"] if "request" in value else value.get("content")


def _target(item: JSON) -> str | None:
    if isinstance(item, dict):
        item = item.get("agent", item.get("agent_name"))
    return item if isinstance(item, str) and item else None


def _request(item: JSON, default: JSON) -> JSON:
    return item["request"] if isinstance(item, dict) and "request" in item else default


def _invoke(value: dict[str, JSON], updates: Updates) -> Reply:
    target = value.get("action_input", value.get("agent", value.get("agent_name")))
    name = _target(target)
    if name is None:
        return Malformed("invoke_agent needs `action_input`: an agent's name, or {agent, request}")
    return Invoke(name, _request(target, _fallback(value)), updates)


def _parallel(value: dict[str, JSON], updates: Updates) -> Reply:
    if "invocations" in value:
        items = value["invocations"]
        if not isinstance(items, list) or any(_target(i) is None for i in items):
            return Malformed("invocations must be a list of {agent, request}")
        calls = [Invocation(_target(i) or "", _request(i, _fallback(value))) for i in items]
    else:
        agents, requests = value.get("agents"), value.get("agent_requests") or {}
        if not isinstance(agents, list) or not all(isinstance(a, str) and a for a in agents):
            return Malformed("parallel_invoke needs `agents`: a list of names, or `invocations`")
        if not isinstance(requests, dict):
            return Malformed("agent_requests must be an object of requests by agent name")
        calls = [Invocation(a, requests.get(a, _fallback(value))) for a in agents]
    return Parallel(calls, updates) if calls else Malformed("parallel_invoke names no agent")


def _final(value: dict[str, JSON], updates: Updates) -> Reply:
    for key in ("final_response", "content", "response"):
        if key in value:
            return Final(value[key], updates)
    return Malformed("final_response needs the field `final_response`")


def _ask(value: dict[str, JSON], updates: Updates) -> Reply:
    choices = value.get("choices")
    if "prompt" not in value:
        return Malformed("ask_user needs `prompt`")
    if choices is not None and not isinstance(choices, list):
        return Malformed("choices must be a list")
    return AskUser(value["prompt"], choices, value.get("schema"), updates)


def _later(value: dict[str, JSON], updates: Updates) -> Reply:
    seconds = value.get("after_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 31_536_000:
        return Malformed("retry_later needs `after_seconds`, 0 to 31536000")
    return RetryLater(float(seconds), updates)


def _recovery(value: dict[str, JSON], updates: Updates) -> Reply:
    return ErrorRecovery(value.get("error", "the agent asked for help"), updates)


def _terminal(value: dict[str, JSON], updates: Updates) -> Reply:
    return Terminal(value.get("error", "the agent gave up"), updates)


_READERS = {
    "invoke_agent": _invoke,
    "parallel_invoke": _parallel,
    "final_response": _final,
    "ask_user": _ask,
    "retry_later": _later,
    "error_recovery": _recovery,
    "terminal_error": _terminal,
}
