"""The actions an agent may return, built as the dictionaries of the seed.

Returned, an action says where control goes. Awaited inside an agent, `invoke_agent`, `parallel_invoke` and
`ask_user` are durable calls whose results come back into the code: the worker sets `CALLER` for that.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

JSON = Any
CALLER: ContextVar[Callable[[dict[str, JSON]], Awaitable[JSON]]] = ContextVar("anabranch_caller")


class Action(dict[str, JSON]):
    """A dictionary that can be awaited inside an agent."""

    def __await__(self) -> Generator[Any, None, JSON]:
        caller = CALLER.get(None)
        if caller is None:
            raise RuntimeError(f"{self['next_action']} can be awaited only inside an agent; elsewhere return it")
        return caller(self).__await__()


def paired(agents: Sequence[str], tasks: Sequence[JSON]) -> list[dict[str, JSON]]:
    """One invocation a task; with more tasks than agents the agents take turns."""
    if not agents or len(tasks) < len(agents):
        raise ValueError(f"{len(agents)} agents for {len(tasks)} tasks; name at least one agent and a task for each")
    return [{"agent": agents[i % len(agents)], "request": task} for i, task in enumerate(tasks)]


def invoke_agent(agent: str, request: JSON = None, **more: JSON) -> Action:
    """Go on at `agent` with `request`; awaited: its answer."""
    return Action(next_action="invoke_agent", action_input={"agent": agent, "request": request}, **more)


def parallel_invoke(
    agents: Sequence[str] | None = None,
    agent_requests: Mapping[str, JSON] | None = None,
    invocations: Sequence[Mapping[str, JSON]] | None = None,
    tasks: Sequence[JSON] | None = None,
    **more: JSON,
) -> Action:
    """Invoke `agents` at once, each with its task, or each of `invocations` (`{"agent", "request"}`).

    Awaited inside an agent: the answers, in the order of the invocations.
    """
    if tasks is not None:
        invocations = paired(agents or (), tasks)
    if invocations is not None:
        return Action(next_action="parallel_invoke", invocations=[dict(i) for i in invocations], **more)
    requests = dict(agent_requests or {})
    return Action(next_action="parallel_invoke", agents=list(agents or ()), agent_requests=requests, **more)


def final_response(value: JSON, **more: JSON) -> dict[str, JSON]:
    """The branch is done with `value`."""
    return {"next_action": "final_response", "final_response": value, **more}


def ask_user(
    prompt: JSON,
    choices: Sequence[JSON] | None = None,
    schema: JSON = None,
    timeout: float | None = None,
    default: JSON = None,
    **more: JSON,
) -> Action:
    """Ask a person; the answer comes back as this agent's next request, or awaited, here.

    After `timeout` seconds `default` is the answer.
    """
    parts = {"schema": schema, "timeout": timeout, "default": default}
    body = {name: part for name, part in parts.items() if part is not None}
    if choices is not None:
        body["choices"] = list(choices)
    return Action(next_action="ask_user", prompt=prompt, **body, **more)


def retry_later(after_seconds: float, **more: JSON) -> dict[str, JSON]:
    """Run this step again after so many seconds."""
    return {"next_action": "retry_later", "after_seconds": after_seconds, **more}


def error_recovery(error: JSON, **more: JSON) -> dict[str, JSON]:
    """Ask a person what to do about `error`; without a `User` in the topology the branch fails."""
    return {"next_action": "error_recovery", "error": error, **more}


def terminal_error(error: JSON, **more: JSON) -> dict[str, JSON]:
    """The branch fails with `error`."""
    return {"next_action": "terminal_error", "error": error, **more}
