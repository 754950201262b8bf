"""What a fork has lost: failed and cancelled invocations, and whether that leaves it unmet.

An unmet fork is suspect: it may doom the run at once. Where a fork around it can bear its failure there is nothing to
do before it has settled, so it is put down there (`bears`) and looked at again only when that fork can bear no more.
"""

from bisect import insort
from operator import itemgetter
from typing import Any

from anabranch.domain.occupancy import count, enclosing
from anabranch.domain.state import Branch, Fork, RunState

MOST_CAUSES = 10


def count_failure(s: RunState, fork: Fork, branch: Branch, error: dict[str, Any]) -> None:
    """One invocation of the fork failed."""
    fork.failed += 1
    count(fork.ended_at, branch.agent, 1)
    fork.records.append((branch.order, _record(branch, "failed", error=error)))
    said = {k: v for k, v in error.items() if k != "causes"}
    insort(fork.causes, (branch.order, {"agent": branch.agent, "branch_id": branch.id, **said}), key=itemgetter(0))
    del fork.causes[MOST_CAUSES:]
    if branch.origin is not None:
        fork.lost.append((branch.id, branch.order, *branch.origin))
    if fork.unmet and not fork.unmet_with(fork.failed - 1):
        _suspect(s, fork)
    unburden(s, fork)


def _record(branch: Branch, status: str, **more: Any) -> dict[str, Any]:
    """What the fork's owner is told of one of its branches."""
    return {"agent": branch.agent, "branch_id": branch.id, "status": status, **more}


def count_cancelled(fork: Fork, branch: Branch, status: str) -> None:
    """Nothing will come of one invocation of the fork."""
    fork.cancelled += 1
    count(fork.ended_at, branch.agent, 1)
    fork.records.append((branch.order, _record(branch, status)))


def _suspect(s: RunState, fork: Fork) -> None:
    around = [] if fork.policy.get("fail_fast") else [f for f in enclosing(s, fork.id) if f.id != fork.id]
    bearer = next((f for f in around if not f.brittle), None)
    if bearer is None:
        s.suspect[fork.id] = None
    else:
        bearer.bears.append(fork.id)


def unburden(s: RunState, fork: Fork) -> None:
    """A fork that can bear no more failures: what it bore is suspect again."""
    if not fork.bears or not fork.brittle:
        return
    borne, fork.bears = fork.bears, []
    for identity in borne:
        inner = s.forks.get(identity)
        if inner is not None and not inner.closed:
            _suspect(s, inner)
