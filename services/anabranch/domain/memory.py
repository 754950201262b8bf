"""What an agent remembers: per branch and agent, a window of messages."""

from collections.abc import Mapping
from typing import Any

from anabranch.domain.state import Branch, RunState, Step

JSON = Any


def window(state: RunState, agent: str) -> int:
    """How many messages of `agent` are kept: the run's `max_messages`, narrowed by the node's retention."""
    policy: Mapping[str, JSON] = state.graph.node[agent].get("memory") or {}
    retention = policy.get("retention")
    if retention == "none":
        return 0
    bounds = (policy.get("max_messages"), state.graph.rules.messages, state.config["max_messages"])
    limit = min(b for b in bounds if b is not None)
    return min(limit, 2) if retention == "single_step" else limit


def remember(state: RunState, branch: Branch, step: Step, response: JSON) -> None:
    """Append the request and the reply of a step to the agent's own list in this branch."""
    keep = window(state, step.agent)
    if not keep:
        return
    messages = branch.memory.setdefault(step.agent, [])
    messages.append({"role": "user", "content": step.request})
    messages.append({"role": "assistant", "content": response, "name": step.agent})
    if len(messages) > keep:
        del messages[: len(messages) - keep]
