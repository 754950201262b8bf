"""Steps, their attempts and their trouble."""

from dataclasses import dataclass
from typing import Any

JSON = Any


@dataclass(frozen=True, slots=True)
class StepRequested:
    """One attempt of a step is owed by a worker; admits the branch if it was pending."""

    branch_id: str
    step_id: str
    step_number: int
    attempt: int
    agent: str
    request: JSON = None
    steering: str | None = None


@dataclass(frozen=True, slots=True)
class StepCompleted:
    """The accepted reply of a step; `action` is how it was read (`content`, `invoke_agent`, …)."""

    branch_id: str
    step_id: str
    attempt: int
    agent: str
    action: str
    response: JSON = None
    context_updates: dict[str, JSON] | None = None
    started_at: str | None = None
    finished_at: str | None = None
    worker: str | None = None
    usage: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class StepSuspended:
    """The agent waits inside its code for `call`: `{"number", "print", "of"}`, `of` naming whom it calls."""

    branch_id: str
    step_id: str
    attempt: int
    agent: str
    call: dict[str, JSON]
    started_at: str | None = None
    finished_at: str | None = None
    worker: str | None = None
    usage: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class StepRejected:
    """An invalid reply; the same step is asked again with `reason` as steering, or failed."""

    branch_id: str
    step_id: str
    attempt: int
    agent: str
    reason: str
    response: JSON = None
    started_at: str | None = None
    finished_at: str | None = None
    worker: str | None = None
    usage: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class StepFailed:
    """One attempt failed, or asked for help or time; `error` is `{"kind", "type", "message", "retry_after"?}`."""

    branch_id: str
    step_id: str
    attempt: int
    agent: str
    error: dict[str, JSON]
    response: JSON = None
    started_at: str | None = None
    finished_at: str | None = None
    worker: str | None = None
    usage: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A person let the run go on without this step's reply."""

    branch_id: str
    step_id: str


@dataclass(frozen=True, slots=True)
class StepRetryScheduled:
    """The step will be asked again as `attempt` when `due_at` (ISO 8601) has come; with `request["new"]`, if given."""

    branch_id: str
    step_id: str
    attempt: int
    due_at: str
    request: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class StepResultDiscarded:
    """A late, duplicate or outdated result: it changed nothing, its cost stays visible."""

    branch_id: str
    step_id: str
    attempt: int
    reason: str
    worker: str | None = None
    usage: dict[str, JSON] | None = None
