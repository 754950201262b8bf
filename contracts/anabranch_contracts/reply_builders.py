"""The actions an agent may return, built as the dictionaries of the seed."""

from collections.abc import Mapping, Sequence
from typing import Any

JSON = Any


def invoke_agent(agent: str, request: JSON = None, **more: JSON) -> dict[str, JSON]:
    """Go on at `agent` with `request`."""
    return {"next_action": "invoke_agent", "action_input": {"agent": agent, "request": request}, **more}


def parallel_invoke(
    agents: Sequence[str] | None = None,
    agent_requests: Mapping[str, JSON] | None = None,
    invocations: Sequence[Mapping[str, JSON]] | None = None,
    **more: JSON,
) -> dict[str, JSON]:
    """Invoke `agents` at once, or each of `invocations` (`{"agent", "request"}`, the same agent as often as wished)."""
    if invocations is not None:
        return {"next_action": "parallel_invoke", "invocations": [dict(i) for i in invocations], **more}
    requests = dict(agent_requests or {})
    return {"next_action": "parallel_invoke", "agents": list(agents or ()), "agent_requests": requests, **more}


def final_response(value: JSON, **more: JSON) -> dict[str, JSON]:
    """The branch is done with `value`."""
    return {"next_action": "final_response", "final_response": value, **more}


def ask_user(prompt: JSON, choices: Sequence[JSON] | None = None, schema: JSON = None, **more: JSON) -> dict[str, JSON]:
    """Ask a person; the answer comes back as this agent's next request."""
    body = {"next_action": "ask_user", "prompt": prompt, **more}
    body |= {"choices": list(choices)} if choices is not None else {}
    return body | ({"schema": schema} if schema is not None else {})


def retry_later(after_seconds: float, **more: JSON) -> dict[str, JSON]:
    """Run this step again after so many seconds."""
    return {"next_action": "retry_later", "after_seconds": after_seconds, **more}


def terminal_error(error: JSON, **more: JSON) -> dict[str, JSON]:
    """The branch fails with `error`."""
    return {"next_action": "terminal_error", "error": error, **more}
