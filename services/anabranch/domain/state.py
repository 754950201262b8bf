"""The state of one run: only what is live. What ended lives in the log and in the projections.

`evolve` owns and moves the state in place; the `touched_*` maps remember what changed since rows were last
drawn from it, so that projections are a fold too and cost O(1) per event.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from anabranch.domain.graph import Graph, graph_of

ROOT = ""
TERMINAL = frozenset({"completed", "failed", "cancelled", "rejected"})
TYPE_RANK = ("simple", "conversation", "nested", "user_interaction")

Order = list[int]
JSON = Any


@dataclass(slots=True)
class Step:
    """The step a branch is at; `due_at` set while it waits for its retry, `trouble` while nobody has ruled."""

    id: str
    branch_id: str
    number: int
    agent: str
    attempt: int
    request: JSON
    requested_at: str
    requested_version: int
    steering: str | None = None
    status: str = "requested"
    action: str | None = None
    error: JSON = None
    worker: str | None = None
    result_version: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    usage: dict[str, JSON] | None = None
    rejections: int = 0
    failures: int = 0
    limited_since: str | None = None
    due_at: str | None = None
    trouble: dict[str, JSON] | None = None


@dataclass(slots=True)
class Branch:
    """One thread of control: at `agent`, in fork `fork_id`, placed at `order` in the tree."""

    id: str
    parent: str | None
    fork_id: str
    order: Order
    agent: str
    request: JSON
    spawned_at: str
    type: str = "simple"
    status: str = "pending"
    step: Step | None = None
    steps: int = 0
    context: dict[str, JSON] = field(default_factory=dict)
    memory: dict[str, list[dict[str, JSON]]] = field(default_factory=dict)
    forks: int = 0
    waits_on: str | None = None
    dispatched: list[str] | None = None
    error: JSON = None
    result_version: int | None = None
    finished_at: str | None = None

    def rise(self, kind: str) -> None:
        """Take the more specific of its own type and `kind`."""
        if TYPE_RANK.index(kind) > TYPE_RANK.index(self.type):
            self.type = kind


@dataclass(slots=True)
class Token:
    """Something parked at a convergence node: a branch, or a fork's own contribution."""

    id: str
    fork_id: str
    order: Order
    node: str
    agent: str
    value: JSON
    since: str
    is_branch: bool


@dataclass(slots=True)
class Fork:
    """An open fork. `live` tokens are left of `ever`; `held[Y]` counts tokens parked at Y anywhere inside it."""

    id: str
    owner: str | None
    node: str | None
    invocations: int
    policy: dict[str, JSON]
    opened_at: str
    depth: int = 0
    dispatched: list[str] | None = None
    live: int = 0
    ever: int = 0
    failed: int = 0
    arrivals: int = 0
    records: list[tuple[Order, dict[str, JSON]]] = field(default_factory=list)
    causes: list[dict[str, JSON]] = field(default_factory=list)
    failed_at: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    closed: bool = False

    def unmet_with(self, failed: int) -> bool:
        """Whether the ratio is below what the policy asks for, were `failed` invocations to fail."""
        if self.policy.get("on_insufficient", "fail") != "fail" or not self.invocations:
            return False
        return (self.invocations - failed) / self.invocations < float(self.policy.get("min_ratio", 1.0))

    @property
    def unmet(self) -> bool:
        """Whether too many have failed already; never turns back."""
        return self.unmet_with(self.failed)


@dataclass(slots=True)
class Convergence:
    """One row of the trace of forks and convergence nodes."""

    id: str
    kind: str
    node: str | None
    opened_at: str
    expected: int = 0
    arrived: int = 0
    failed: int = 0
    status: str = "open"
    into: str | None = None
    fired_at: str | None = None
    wait_time: float | None = None


@dataclass(slots=True)
class RunState:
    """Everything that decisions about a run depend on."""

    run_id: UUID
    version: int = 0
    status: str = "pending"
    topology: dict[str, JSON] = field(default_factory=dict)
    topology_hash: str = ""
    request_hash: str = ""
    task: JSON = None
    context: dict[str, JSON] = field(default_factory=dict)
    config: dict[str, JSON] = field(default_factory=dict)
    reply_to: str | None = None
    reply_correlation: str | None = None
    requested_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    finished_version: int | None = None
    result_count: int = 0
    error: JSON = None
    total_steps: int = 0
    branch_count: int = 0
    running: int = 0
    most_running: int = 0
    wait_time: float = 0.0
    branches: dict[str, Branch] = field(default_factory=dict)
    forks: dict[str, Fork] = field(default_factory=dict)
    deliveries: list[tuple[Order, dict[str, JSON]]] = field(default_factory=list)
    pending: dict[str, None] = field(default_factory=dict)
    troubled: dict[str, None] = field(default_factory=dict)
    retries: dict[str, str] = field(default_factory=dict)
    alarms: list[tuple[str, str]] = field(default_factory=list)
    settled: dict[str, None] = field(default_factory=dict)
    suspect: dict[str, None] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    parked: dict[str, dict[str, None]] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    waiting_held: dict[str, dict[str, int]] = field(default_factory=dict)
    firings: dict[str, int] = field(default_factory=dict)
    convergences: dict[str, Convergence] = field(default_factory=dict)
    touched_branches: dict[str, Branch] = field(default_factory=dict)
    touched_steps: dict[str, Step] = field(default_factory=dict)
    touched_convergences: dict[str, Convergence] = field(default_factory=dict)
    touched_timers: dict[str, str | None] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The prepared topology (shared by content)."""
        return graph_of(self.topology, self.topology_hash, bool(self.config.get("auto_detect_convergence", True)))

    @property
    def terminal(self) -> bool:
        """Whether the run has its outcome."""
        return self.status in TERMINAL
