"""Forks open and settle; tokens park and converge."""

from datetime import datetime

from anabranch.domain.evolving.branches import end, enter, gone, leave_running
from anabranch.domain.occupancy import count, hold, stop_waiting, wait_on
from anabranch.domain.state import Branch, Convergence, Fork, RunState, Token
from anabranch_contracts import events as e


def fork_opened(s: RunState, ev: e.ForkOpened, at: str) -> None:
    owner = s.branches[ev.branch_id]
    owner.forks += 1
    owner.rise("nested")
    depth = s.forks[owner.fork_id].depth + 1
    fork = Fork(ev.fork_id, owner.id, ev.node, ev.invocations, ev.policy, at, depth=depth, dispatched=ev.dispatched)
    s.forks[fork.id] = fork
    s.running -= 1
    wait_on(s, owner, fork)
    s.touched_branches[owner.id] = owner
    _trace(s, Convergence(fork.id, "fork", ev.node, at, expected=ev.invocations))


def _trace(s: RunState, convergence: Convergence) -> None:
    s.convergences[convergence.id] = s.touched_convergences[convergence.id] = convergence


def contribution_parked(s: RunState, ev: e.ContributionParked, at: str) -> None:
    fork = s.forks[ev.fork_id]
    fork.live += 1
    fork.ever += 1
    _park(s, Token(ev.token_id, ev.fork_id, ev.order, ev.node, ev.agent, ev.value, at, is_branch=False))


def branch_parked(s: RunState, ev: e.BranchParked, at: str) -> None:
    branch = s.branches[ev.branch_id]
    leave_running(s, branch)
    branch.status, branch.agent, branch.dispatched = "waiting", ev.node, None
    _park(s, Token(branch.id, branch.fork_id, branch.order, ev.node, ev.agent, ev.value, at, is_branch=True))
    s.touched_branches[branch.id] = branch


def _park(s: RunState, token: Token) -> None:
    s.tokens[token.id] = token
    s.parked.setdefault(token.node, {})[token.id] = None
    hold(s, token, 1)
    identity = firing_id(s, token.node)
    convergence = s.convergences.get(identity)
    if convergence is None:
        convergence = Convergence(identity, "node", token.node, token.since)
        s.convergences[identity] = convergence
    convergence.expected += 1
    convergence.arrived += 1
    s.touched_convergences[identity] = convergence


def firing_id(s: RunState, node: str) -> str:
    """Identity of the next firing of `node`: firings of one node follow each other in every schedule."""
    return f"{node}#{s.firings.get(node, 0) + 1}"


def fork_settled(s: RunState, ev: e.ForkSettled, at: str) -> None:
    """The owner stops waiting; resumed owners are active again, others end by the event that follows."""
    fork = s.forks[ev.fork_id]
    owner = s.branches[ev.branch_id]
    convergence = s.convergences.pop(fork.id)
    convergence.arrived, convergence.failed = ev.arrived, ev.failed
    _fired(s, convergence, owner.id if ev.outcome == "resumed" else None, at)
    _close(s, fork, owner)
    if ev.outcome == "resumed":
        owner.status, owner.request, owner.dispatched = "pending", ev.value, fork.dispatched
        count(s.active, owner.agent, 1)
        s.pending[owner.id] = None
    else:
        owner.waits_on = fork.id  # still counted nowhere: BranchMerged or BranchFailed follows at once
    s.touched_branches[owner.id] = owner


def _close(s: RunState, fork: Fork, owner: Branch) -> None:
    stop_waiting(s, owner)
    s.settled.pop(fork.id, None)
    s.suspect.pop(fork.id, None)
    if not fork.live:
        del s.forks[fork.id]


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
        enter(s, branch)
    elif ev.continues == "owner":
        _owner_continues(s, ev)
    for identity in ev.tokens:
        _take(s, identity, ev, at)


def _owner_continues(s: RunState, ev: e.BranchConverged) -> None:
    fork = s.forks[ev.fork_id]
    owner = s.branches[ev.into_branch_id]
    trace = s.convergences.pop(fork.id)
    trace.arrived, trace.failed = fork.ever - fork.failed, fork.failed
    _fired(s, trace, owner.id, s.touched_convergences[ev.convergence_id].fired_at or "")
    _close(s, fork, owner)
    _activate(s, owner, ev)


def _activate(s: RunState, branch: Branch, ev: e.BranchConverged) -> None:
    branch.agent, branch.request, branch.dispatched = ev.node, ev.value, None
    branch.status = "pending"
    s.pending[branch.id] = None
    count(s.active, ev.node, 1)
    s.touched_branches[branch.id] = branch


def _take(s: RunState, identity: str, ev: e.BranchConverged, at: str) -> None:
    """A parked token leaves its node: it goes on there itself, or is merged into what does."""
    token = s.tokens.pop(identity)
    hold(s, token, -1)
    here = s.parked[token.node]
    del here[identity]
    if not here:
        del s.parked[token.node]
    if ev.continues == "token":
        _activate(s, s.branches[identity], ev)
    elif token.is_branch:
        end(s, s.branches[identity], "merged", at)
    else:
        gone(s, s.forks[token.fork_id])
