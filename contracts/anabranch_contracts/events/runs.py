"""What begins, ends and governs a run."""

from dataclasses import dataclass, field
from typing import Any

JSON = Any


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A valid request was taken; pins the canonical topology and the whole configuration."""

    task: JSON
    topology: dict[str, JSON]
    topology_hash: str
    context: dict[str, JSON] = field(default_factory=dict)
    config: dict[str, JSON] = field(default_factory=dict)
    labels: dict[str, JSON] = field(default_factory=dict)
    request_hash: str = ""
    reply_to: str | None = None
    reply_correlation: str | None = None


@dataclass(frozen=True, slots=True)
class RunRejected:
    """The request cannot run; `errors` lists every reason. `request` keeps what was asked."""

    errors: list[str]
    request: JSON = None
    request_hash: str = ""
    reply_to: str | None = None
    reply_correlation: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeAwaited:
    """The run was asked for again, by somebody who awaits its outcome elsewhere."""

    reply_to: str
    reply_correlation: str | None = None


@dataclass(frozen=True, slots=True)
class RunForked:
    """The events before this one are those of `source`, up to its `at_version`; the run lives on from there.

    `topology`, `context`: what replaces those of the source, None = nothing.
    """

    source: str
    at_version: int
    request_hash: str = ""
    topology: dict[str, JSON] | None = None
    topology_hash: str | None = None
    context: dict[str, JSON] | None = None
    reply_to: str | None = None
    reply_correlation: str | None = None


@dataclass(frozen=True, slots=True)
class RunPaused:
    """Nothing new starts until the run is resumed; `reason` says who or which rule wants it so."""

    reason: str = "paused"


@dataclass(frozen=True, slots=True)
class RunResumed:
    """A paused run goes on."""


@dataclass(frozen=True, slots=True)
class CheckpointCreated:
    """`name` stands for `version` of this stream."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class RuleApplied:
    """A rule's verdict other than allow; `rule` is its place in the topology's list.

    `local`: it is about the branch and its step, so it has spoken for this branch alone.
    """

    rule: int
    type: str
    action: str
    reason: str
    branch_id: str | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class RuleLifted:
    """The condition of a rule that paused or told a person is false again: it may speak once more.

    `branch_id`: for this branch, where it is about the branch and its step.
    """

    rule: int
    branch_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """Nothing is live and the root fork is met."""

    result: JSON = None
    result_count: int = 0


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run cannot succeed any more; everything live was cancelled."""

    error: dict[str, JSON]


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """A person or client ended the run."""

    reason: str = "cancelled"


@dataclass(frozen=True, slots=True)
class RunErased:
    """Payloads of the events up to version `upto` were replaced by markers; who wanted it and why is in `erasures`."""

    upto: int
