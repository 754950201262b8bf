"""What becomes of a branch."""

from dataclasses import dataclass
from typing import Any

JSON = Any


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
class BranchHeld:
    """The branch is to go on at `agent` with `request` and waits for admission: the run is paused, or full."""

    branch_id: str
    agent: str
    request: JSON = None


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
class BranchOrphaned:
    """Its fork goes on without the branch, which finishes unheard; `error` where that counts as failed."""

    branch_id: str
    error: dict[str, JSON] | None = None


@dataclass(frozen=True, slots=True)
class BranchMerged:
    """The branch gave its control to `into_branch_id` (None: to what its tokens became elsewhere)."""

    branch_id: str
    into_branch_id: str | None = None
