"""From what an agent answered to a reply: any JSON is content, a dict with `next_action` is an action."""

from typing import Any

from anabranch_contracts.config import parse_policy
from anabranch_contracts.replies import (
    AskUser,
    Call,
    Content,
    ErrorRecovery,
    Final,
    Invocation,
    Invoke,
    Malformed,
    Parallel,
    Reply,
    RetryLater,
    Terminal,
    Updates,
)

JSON = Any
YEAR = 31_536_000


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
        return Malformed(f"next_action {str(action)[:80]!r} is not one of {', '.join(ACTIONS)}")
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
    if not calls:
        return Malformed("parallel_invoke names no agent")
    policy = value.get("convergence")
    wrong = parse_policy(policy, "convergence") if policy is not None else []
    inherit = value.get("inherit_memory")
    wrong += ["inherit_memory must be true or false"] if inherit not in (None, True, False) else []
    return Malformed("; ".join(wrong)) if wrong else Parallel(calls, policy, inherit, updates)


def _final(value: dict[str, JSON], updates: Updates) -> Reply:
    for key in ("final_response", "content", "response"):
        if key in value:
            return Final(value[key], updates)
    return Malformed("final_response needs the field `final_response`")


def _ask(value: dict[str, JSON], updates: Updates) -> Reply:
    if "prompt" not in value:
        return Malformed("ask_user needs `prompt`")
    asked = question(value, updates)
    return Malformed(asked) if isinstance(asked, str) else asked


def question(value: dict[str, JSON], updates: Updates = None) -> AskUser | str:
    """A question to a person, or what is wrong with it."""
    choices, schema, timeout = value.get("choices"), value.get("schema"), value.get("timeout")
    if choices is not None and (not isinstance(choices, list) or not choices):
        return "choices must be a list of at least one"
    if schema is not None and not isinstance(schema, dict | bool):
        return "schema must be a JSON Schema: an object"
    if timeout is not None and not _seconds(timeout):
        return f"timeout must be seconds, 0 to {YEAR}"
    return AskUser(value["prompt"], choices, schema, timeout, value.get("default"), updates)


def _seconds(value: JSON) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= YEAR


def _later(value: dict[str, JSON], updates: Updates) -> Reply:
    seconds = value.get("after_seconds")
    if not _seconds(seconds):
        return Malformed(f"retry_later needs `after_seconds`, 0 to {YEAR}")
    return RetryLater(float(seconds or 0), updates)


def _recovery(value: dict[str, JSON], updates: Updates) -> Reply:
    return ErrorRecovery(value.get("error", "the agent asked for help"), updates)


def _terminal(value: dict[str, JSON], updates: Updates) -> Reply:
    return Terminal(value.get("error", "the agent gave up"), updates)


def _call(value: dict[str, JSON], updates: Updates) -> Reply:
    """Written by our own workers when an agent waits inside its code."""
    number, fingerprint, items = value.get("number"), value.get("print"), value.get("invocations", [])
    timeout, ask = value.get("timeout"), value.get("ask")
    if not isinstance(number, int) or not isinstance(fingerprint, str) or len(fingerprint) > 200:
        return Malformed("call needs `number` and `print`")
    if not isinstance(items, list) or any(_target(i) is None for i in items):
        return Malformed("invocations must be a list of {agent, request}")
    asked = question(ask) if isinstance(ask, dict) and "prompt" in ask else None
    if isinstance(asked, str):
        return Malformed(asked)
    if bool(items) == (asked is not None) or (timeout is not None and not _seconds(timeout)):
        return Malformed("call needs `invocations` or `ask`, and a timeout in seconds if any")
    calls = [Invocation(_target(i) or "", _request(i, None)) for i in items]
    return Call(number, fingerprint, calls, asked, timeout, updates)


_READERS = {
    "invoke_agent": _invoke,
    "parallel_invoke": _parallel,
    "final_response": _final,
    "ask_user": _ask,
    "retry_later": _later,
    "error_recovery": _recovery,
    "terminal_error": _terminal,
    "call": _call,
}
ACTIONS = [name for name in _READERS if name != "call"]
"""What an agent may write as `next_action`."""
