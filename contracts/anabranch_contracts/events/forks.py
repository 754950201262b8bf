"""Forks open, are decided and settle; tokens park and converge."""

from dataclasses import dataclass, field
from typing import Any

JSON = Any


@dataclass(frozen=True, slots=True)
class ForkOpened:
    """`branch_id` waits at `node` for `invocations` tokens; `dispatched` names the targets of a content fork.

    `returns`: the records go back into the agent's code, which waits inside its step.
    """

    fork_id: str
    branch_id: str
    node: str
    invocations: int
    policy: dict[str, JSON] = field(default_factory=dict)
    dispatched: list[str] | None = None
    returns: bool = False
    inherit_memory: bool = False


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
class ContributionCancelled:
    """A fork's own parked token was taken away; `reason` says by what."""

    token_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForkWaived:
    """The fork's ratio counts no more; `reason` is `timeout`, `eager` or `person`."""

    fork_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FailuresRetried:
    """A person wants the failed children `branch_ids` of the fork to be tried again; they are spawned anew."""

    fork_id: str
    branch_ids: list[str]


@dataclass(frozen=True, slots=True)
class ForkSettled:
    """The fork is over; `outcome`: `resumed` or `returned` with `value`, `merged`, `failed`."""

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
