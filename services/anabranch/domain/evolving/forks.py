"""Forks open, are decided and settle; tokens park and converge."""

from datetime import datetime

from anabranch.domain.evolving.branches import close, end, enter, gone, join, leave, park, talk, unpark
from anabranch.domain.evolving.losses import unburden
from anabranch.domain.occupancy import count, enter_active, sync_fork, wait_on
from anabranch.domain.state import Branch, Clock, Convergence, Fork, RunState, Token
from anabranch_contracts import events as e


def fork_opened(s: RunState, ev: e.ForkOpened, at: str) -> None:
    owner = s.branches[ev.branch_id]
    owner.forks += 1
    owner.rise("nested")
    around = s.forks[owner.fork_id]
    fork = Fork(
        ev.fork_id, owner.id, ev.node, ev.invocations, ev.policy, at, around.depth + 1, ev.dispatched, ev.returns,
        ev.inherit_memory,
    )  # fmt: skip
    s.forks[fork.id] = fork
    fork.timed = around.timed
    if owner.status == "running":
        s.running -= 1
    wait_on(s, owner, fork)
    wind(s, fork)
    s.touched_branches[owner.id] = owner
    _trace(s, Convergence(fork.id, "fork", ev.node, at, expected=ev.invocations))


def wind(s: RunState, fork: Fork) -> None:
    """Start the fork's clock, if its policy has a timeout."""
    seconds = fork.policy.get("timeout")
    if seconds is not None:
        fork.clock, fork.timed = Clock(float(seconds)), fork.id
        sync_fork(s, fork)


def _trace(s: RunState, convergence: Convergence) -> None:
    s.convergences[convergence.id] = s.touched_convergences[convergence.id] = convergence


def contribution_parked(s: RunState, ev: e.ContributionParked, at: str) -> None:
    join(s.forks[ev.fork_id], ev.token_id)
    _park(s, Token(ev.token_id, ev.fork_id, ev.order, ev.node, ev.agent, ev.value, at, is_branch=False))


def branch_parked(s: RunState, ev: e.BranchParked, at: str) -> None:
    branch = s.branches[ev.branch_id]
    leave(s, branch)
    talk(s, branch, ev.node)
    branch.status, branch.agent, branch.dispatched = "waiting", ev.node, None
    _park(s, Token(branch.id, branch.fork_id, branch.order, ev.node, ev.agent, ev.value, at, is_branch=True))
    s.touched_branches[branch.id] = branch


def _park(s: RunState, token: Token) -> None:
    park(s, token)
    identity = firing_id(s, token.node)
    convergence = s.convergences.get(identity) or Convergence(identity, "node", token.node, token.since)
    convergence.expected += 1
    convergence.arrived += 1
    _trace(s, convergence)


def firing_id(s: RunState, node: str) -> str:
    """Identity of the next firing of `node`: firings of one node follow each other in every schedule."""
    return f"{node}#{s.firings.get(node, 0) + 1}"


def contribution_cancelled(s: RunState, ev: e.ContributionCancelled, at: str) -> None:
    token = s.tokens[ev.token_id]
    fork = s.forks[token.fork_id]
    fork.cancelled += 1
    fork.records.append((token.order, {"agent": token.agent, "branch_id": token.id, "status": "cancelled"}))
    unpark(s, token)
    gone(s, fork, token.id)


def fork_waived(s: RunState, ev: e.ForkWaived, at: str) -> None:
    fork = s.forks[ev.fork_id]
    fork.decided = "waived"
    s.shared.pop(fork.id, None)
    s.suspect.pop(fork.id, None)
    sync_fork(s, fork)


def failures_retried(s: RunState, ev: e.FailuresRetried, at: str) -> None:
    """What failed counts no more; the same children are spawned again by the events that follow."""
    fork = s.forks[ev.fork_id]
    again = set(ev.branch_ids)
    for _, record in fork.records:
        if record["branch_id"] in again:
            count(fork.ended_at, record["agent"], -1)
    fork.records = [(order, r) for order, r in fork.records if r["branch_id"] not in again]
    fork.failed -= len(again)
    fork.ever -= len(again)
    fork.lost, fork.causes, fork.decided = [], [], None
    unburden(s, fork)
    s.suspect.pop(fork.id, None)
    s.settled.pop(fork.id, None)
    wind(s, fork)


def fork_settled(s: RunState, ev: e.ForkSettled, at: str) -> None:
    """The owner stops waiting; resumed owners are active again, others end by the event that follows."""
    fork = s.forks[ev.fork_id]
    owner = s.branches[ev.branch_id]
    convergence = s.convergences.pop(fork.id)
    convergence.arrived, convergence.failed = ev.arrived, ev.failed
    _fired(s, convergence, owner.id if ev.outcome in ("resumed", "returned") else None, at)
    close(s, fork, owner)
    if ev.outcome == "resumed":
        owner.request, owner.dispatched = ev.value, fork.dispatched
    elif ev.outcome == "returned" and owner.step is not None:
        owner.step.calls[-1]["value"] = ev.value
    if ev.outcome in ("resumed", "returned"):
        owner.status = "pending"
        s.pending[owner.id] = None
        enter_active(s, owner)
        s.touched_checkpoints[f"auto:{fork.id}"] = (s.version, at)
    s.touched_branches[owner.id] = owner


def _fired(s: RunState, convergence: Convergence, into: str | None, at: str) -> None:
    opened, fired = datetime.fromisoformat(convergence.opened_at), datetime.fromisoformat(at)
    convergence.status, convergence.into, convergence.fired_at = "fired", into, at
    convergence.wait_time = (fired - opened).total_seconds()
    s.wait_time += convergence.wait_time
    s.touched_convergences[convergence.id] = convergence


def converged(s: RunState, ev: e.BranchConverged, at: str) -> None:
    convergence = s.convergences.pop(ev.convergence_id)
    s.firings[ev.node] = s.firings.get(ev.node, 0) + 1
    _fired(s, convergence, ev.into_branch_id, at)
    if ev.continues == "new":
        parent = s.forks[ev.fork_id].owner
        branch = Branch(ev.into_branch_id, parent, ev.fork_id, ev.order, ev.node, ev.value, at)
        branch.context = dict(s.branches[parent].context) if parent else {}
        branch.spoken = list(s.branches[parent].spoken) if parent else []
        enter(s, branch)
    elif ev.continues == "owner":
        _owner_continues(s, ev)
    for identity in ev.tokens:
        _take(s, identity, ev, at)
    s.touched_checkpoints[f"auto:{ev.convergence_id}"] = (s.version, at)


def _owner_continues(s: RunState, ev: e.BranchConverged) -> None:
    fork = s.forks[ev.fork_id]
    owner = s.branches[ev.into_branch_id]
    trace = s.convergences.pop(fork.id)
    trace.arrived, trace.failed = fork.ever - fork.failed - fork.cancelled, fork.failed
    _fired(s, trace, owner.id, s.touched_convergences[ev.convergence_id].fired_at or "")
    close(s, fork, owner)
    _activate(s, owner, ev)


def _activate(s: RunState, branch: Branch, ev: e.BranchConverged) -> None:
    branch.agent, branch.request, branch.dispatched = ev.node, ev.value, None
    branch.status = "pending"
    s.pending[branch.id] = None
    enter_active(s, branch)
    s.touched_branches[branch.id] = branch


def _take(s: RunState, identity: str, ev: e.BranchConverged, at: str) -> None:
    """A parked token leaves its node: it goes on there itself, or is merged into what does."""
    token = s.tokens[identity]
    unpark(s, token)
    if s.forks[token.fork_id].returns and ev.continues != "token":
        s.forks[token.fork_id].went[identity] = ev.into_branch_id
    if ev.continues == "token":
        _activate(s, s.branches[identity], ev)
    elif token.is_branch:
        s.branches[identity].status = "merged"  # counted nowhere while it leaves
        end(s, s.branches[identity], "merged", at)
    else:
        gone(s, s.forks[token.fork_id], token.id)
