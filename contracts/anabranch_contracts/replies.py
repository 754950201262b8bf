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
    """Open a fork; `convergence` is a partial policy for it alone."""

    invocations: list[Invocation]
    convergence: dict[str, JSON] | None = None
    inherit_memory: bool | None = None
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
    """Wait for a person; the answer returns to the asking agent. After `timeout` seconds it is `default`."""

    prompt: JSON
    choices: list[JSON] | None = None
    schema: JSON = None
    timeout: float | None = None
    default: JSON = None
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
class Call:
    """The agent waits inside its code for other agents or a person; `fingerprint` tells this call from others."""

    number: int
    fingerprint: str
    invocations: list[Invocation]
    ask: AskUser | None = None
    timeout: float | None = None
    context_updates: Updates = None
    action: ClassVar[str] = "call"


@dataclass(frozen=True, slots=True)
class Malformed:
    """An action that cannot be read; says why."""

    reason: str
    context_updates: Updates = field(default=None)
    action: ClassVar[str] = "malformed"


Reply = Content | Invoke | Parallel | Final | AskUser | RetryLater | ErrorRecovery | Terminal | Call | Malformed
