"""The state of one run: only what is live. What ended lives in the log and in the projections.

`evolve` owns and moves the state in place; the `touched_*` maps remember what changed since rows were last
drawn from it, so that projections are a fold too and cost O(1) per event.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from anabranch.domain.graph import Graph, graph_of

ROOT = ""
ORPHANS = "orphans"
TERMINAL = frozenset({"completed", "failed", "cancelled", "rejected"})
TYPE_RANK = ("simple", "conversation", "nested", "user_interaction")

Order = list[int]
JSON = Any


@dataclass(slots=True)
class Step:
    """The step a branch is at; `due_at` set while it waits for its retry, `trouble` while nobody has ruled.

    `calls` are what calls from inside the agent's code came to; the last has no `value` while it is waited for.
    """

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
    deferrals: int = 0
    limits: int = 0
    limited_since: str | None = None
    due_at: str | None = None
    trouble: dict[str, JSON] | None = None
    calls: list[dict[str, JSON]] = field(default_factory=list)

    @property
    def fresh(self) -> bool:
        """Whether all that there is of it is that it was asked for, once."""
        return self.attempt == 1 and self.status == "requested"


@dataclass(slots=True)
class Branch:
    """One thread of control: at `agent`, in fork `fork_id`, placed at `order` in the tree.

    It waits on a fork, for a user request, or for admission (then `request` is what its next step gets). `turns`
    counts moves by conversation, `passes` are rules that have held its next step and hold it no more, `spoken` those
    about it that have spoken and whose condition has held since; `origin`
    (agent, request) is kept where it may have to be tried again. `homes` of an orphan are the nodes at which somebody
    would have waited for it.
    """

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
    asks: int = 0
    waits_on: str | None = None
    waits_for: str | None = None
    dispatched: list[str] | None = None
    turns: dict[str, int] = field(default_factory=dict)
    origin: tuple[str, JSON] | None = None
    homes: list[str] | None = None
    passes: list[int] = field(default_factory=list)
    spoken: list[int] = field(default_factory=list)
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
class Clock:
    """Counts down `remaining` seconds, stopped while `since` is None."""

    remaining: float
    since: str | None = None


@dataclass(slots=True)
class Fork:
    """An open fork. `members` are its live tokens, `ever` counts all; `held[Y]` those parked at Y anywhere inside.

    `causes` are the first failures in tree order. `ended_at[X]` counts tokens that failed or were cancelled at X,
    `busy` and `asking` branches anywhere inside that are at work or wait for a person; those two are kept only where
    `timed` names a clock around. `went` says, where the fork is of calls, into which branch a token was merged.
    """

    id: str
    owner: str | None
    node: str | None
    invocations: int
    policy: dict[str, JSON]
    opened_at: str
    depth: int = 0
    dispatched: list[str] | None = None
    returns: bool = False
    inherits: bool = False
    members: dict[str, None] = field(default_factory=dict)
    ever: int = 0
    failed: int = 0
    cancelled: int = 0
    arrivals: int = 0
    here: int = 0
    records: list[tuple[Order, dict[str, JSON]]] = field(default_factory=list)
    causes: list[tuple[Order, dict[str, JSON]]] = field(default_factory=list)
    lost: list[tuple[str, Order, str, JSON]] = field(default_factory=list)
    bears: list[str] = field(default_factory=list)
    went: dict[str, str] = field(default_factory=dict)
    ended_at: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    decided: str | None = None
    asked: str | None = None
    asks: int = 0
    timed: str | None = None
    clock: Clock | None = None
    busy: int = 0
    asking: int = 0
    closed: bool = False

    def short_with(self, failed: int) -> bool:
        """Whether the ratio is below what the policy asks for, were `failed` invocations to fail."""
        if self.decided is not None or not self.invocations:
            return False
        return (self.invocations - failed) / self.invocations < float(self.policy.get("min_ratio", 1.0))

    def unmet_with(self, failed: int) -> bool:
        """Whether `failed` failures would fail the owner."""
        return self.policy.get("on_insufficient", "fail") == "fail" and self.short_with(failed)

    @property
    def unmet(self) -> bool:
        """Whether too many have failed already; never turns back unless a person says so."""
        return self.unmet_with(self.failed)

    @property
    def brittle(self) -> bool:
        """Whether one more failure would fail the owner."""
        return self.unmet_with(self.failed + 1)

    @property
    def doubtful(self) -> bool:
        """Whether too many have failed for it to be met without a person's word."""
        return self.policy.get("on_insufficient", "fail") != "proceed" and self.short_with(self.failed)

    @property
    def shared(self) -> bool:
        """Whether the share that an eager policy waits for has arrived here or at convergence nodes."""
        if not self.policy.get("eager") or self.decided is not None:
            return False
        arrived = self.arrivals + self.here
        return arrived > 0 and arrived / self.invocations >= float(self.policy.get("min_ratio", 1.0))

    @property
    def wants_people(self) -> bool:
        """Whether a person may be asked to have its failures tried again."""
        return "user" in (self.policy.get("on_insufficient"), self.policy.get("on_timeout"))


@dataclass(slots=True)
class UserRequest:
    """A question to a person, open until it is answered; its content is also in the event that asked."""

    id: str
    branch_id: str
    agent: str | None
    kind: str
    prompt: JSON
    requested_at: str
    choices: list[JSON] | None = None
    schema: JSON = None
    returns_to: str | None = None
    user: str | None = None
    fork_id: str | None = None
    default: JSON = None
    status: str = "open"
    value: JSON = None
    answered_at: str | None = None


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


@lru_cache(1024)
def _text(run_id: UUID) -> str:
    """Said several times in every step."""
    return str(run_id)


@dataclass(slots=True)
class RunState:
    """Everything that decisions about a run depend on; `at` is the time of the last event, `cost` in 10**-9.

    `busy` counts branches at work, `asking` what waits for a person; `applied` are rules that have spoken and whose
    condition has held since.
    """

    run_id: UUID
    version: int = 0
    at: str = ""
    status: str = "pending"
    topology: dict[str, JSON] = field(default_factory=dict)
    topology_hash: str = ""
    request_hash: str = ""
    task: JSON = None
    context: dict[str, JSON] = field(default_factory=dict)
    config: dict[str, JSON] = field(default_factory=dict)
    replies: list[tuple[str, str | None]] = field(default_factory=list)
    requested_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    finished_version: int | None = None
    result: JSON = None
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
    timers: dict[str, str] = field(default_factory=dict)
    alarms: list[tuple[str, str]] = field(default_factory=list)
    settled: dict[str, None] = field(default_factory=dict)
    suspect: dict[str, None] = field(default_factory=dict)
    shared: dict[str, None] = field(default_factory=dict)
    requests: dict[str, UserRequest] = field(default_factory=dict)
    checkpoints: dict[str, int] = field(default_factory=dict)
    paused: bool = False
    busy: int = 0
    asking: int = 0
    clock: Clock | None = None
    tokens_used: int = 0
    cost: int = 0
    applied: dict[int, None] = field(default_factory=dict)
    epoch: int = 0
    forked_from: str | None = None
    forked_at_version: int | None = None
    erased: bool = False
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
    touched_requests: dict[str, UserRequest] = field(default_factory=dict)
    touched_checkpoints: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The run's id as messages have it."""
        return _text(self.run_id)

    @property
    def graph(self) -> Graph:
        """The prepared topology (shared by content)."""
        return graph_of(self.topology, self.topology_hash, bool(self.config.get("auto_detect_convergence", True)))

    @property
    def shown_status(self) -> str:
        """The status as people see it: also `paused`, and `waiting` while all that is live waits for people."""
        if self.status != "running":
            return self.status
        if self.paused:
            return "paused"
        return "waiting" if self.asking and not self.busy else "running"

    @property
    def terminal(self) -> bool:
        """Whether the run has its outcome."""
        return self.status in TERMINAL
