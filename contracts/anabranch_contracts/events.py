"""Events: what is recorded, one stream per run, never edited after publication.

Plain frozen dataclasses, so that the hot path encodes them with orjson and decodes them by keyword
without validation. Nested values are JSON. A change of shape is a new schema version with an upcaster
(`catalog`); the stored type is the class name, never a Python path.
"""

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
class BranchSpawned:
    """A branch waits for admission at `agent`; `order` is its place in the tree, `fork_id` "" the root fork."""

    branch_id: str
    parent_branch_id: str | None
    fork_id: str
    order: list[int]
    agent: str
    request: JSON = None


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
    """One attempt failed; `error` is `{"kind", "type", "message", "retry_after"?}`."""

    branch_id: str
    step_id: str
    attempt: int
    agent: str
    error: dict[str, JSON]


@dataclass(frozen=True, slots=True)
class StepRetryScheduled:
    """The step will be asked again as `attempt` when `due_at` (ISO 8601) has come."""

    branch_id: str
    step_id: str
    attempt: int
    due_at: str


@dataclass(frozen=True, slots=True)
class StepResultDiscarded:
    """A late, duplicate or outdated result: it changed nothing, its cost stays visible."""

    branch_id: str
    step_id: str
    attempt: int
    reason: str
    worker: str | None = None
    usage: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class ForkOpened:
    """`branch_id` waits at `node` for `invocations` tokens; `dispatched` names the targets of a content fork."""

    fork_id: str
    branch_id: str
    node: str
    invocations: int
    policy: dict[str, JSON] = field(default_factory=dict)
    dispatched: list[str] | None = None


@dataclass(frozen=True, slots=True)
class ContributionParked:
    """A fork's own token, parked at convergence node `node`; `agent` is the agent that forked."""

    fork_id: str
    token_id: str
    order: list[int]
    node: str
    agent: str
    value: JSON = None


@dataclass(frozen=True, slots=True)
class BranchParked:
    """The branch waits at convergence node `node` with `value`, produced by `agent`."""

    branch_id: str
    node: str
    agent: str
    value: JSON = None


@dataclass(frozen=True, slots=True)
class ResultDelivered:
    """A value reached the run itself (`End`, or final at the root)."""

    branch_id: str
    order: list[int]
    agent: str
    value: JSON = None


@dataclass(frozen=True, slots=True)
class BranchCompleted:
    """The branch is done; its value arrives at `arrives_at` (a fork id, "" the run), or nowhere (None)."""

    branch_id: str
    agent: str
    result: JSON = None
    arrives_at: str | None = None


@dataclass(frozen=True, slots=True)
class BranchFailed:
    """The branch failed at `agent`; counts against its fork's ratio."""

    branch_id: str
    agent: str
    error: dict[str, JSON]


@dataclass(frozen=True, slots=True)
class BranchCancelled:
    """The branch was ended from outside it; `reason` says by what."""

    branch_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BranchMerged:
    """The branch gave its control to `into_branch_id` (None: to what its tokens became elsewhere)."""

    branch_id: str
    into_branch_id: str | None = None


@dataclass(frozen=True, slots=True)
class ForkSettled:
    """No token of the fork is live: `outcome` is `resumed`, `merged`, `failed`; resumed owners get `value`."""

    fork_id: str
    branch_id: str
    outcome: str
    arrived: int
    failed: int
    value: JSON = None


@dataclass(frozen=True, slots=True)
class BranchConverged:
    """Node `node` fired with `tokens`; `into_branch_id` goes on there in `fork_id` (placed at `order`)."""

    convergence_id: str
    node: str
    fork_id: str
    tokens: list[str]
    into_branch_id: str
    continues: str
    order: list[int]
    value: JSON = None
    wait_time: float = 0.0


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


Event = (
    RunStarted
    | RunRejected
    | BranchSpawned
    | StepRequested
    | StepCompleted
    | StepRejected
    | StepFailed
    | StepRetryScheduled
    | StepResultDiscarded
    | ForkOpened
    | ContributionParked
    | BranchParked
    | ResultDelivered
    | BranchCompleted
    | BranchFailed
    | BranchCancelled
    | BranchMerged
    | ForkSettled
    | BranchConverged
    | RunCompleted
    | RunFailed
    | RunCancelled
)
