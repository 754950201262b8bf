"""How branches come and go, and what their going means for their fork."""

from anabranch.domain.clocks import clear_timer, fork_timer, retry_timer
from anabranch.domain.evolving.losses import count_cancelled, count_failure
from anabranch.domain.evolving.people import close_fork_request, close_request
from anabranch.domain.occupancy import enter_active, hold, leave_active, place, settle_if_empty, stop_waiting
from anabranch.domain.state import ORPHANS, ROOT, Branch, Fork, RunState, Token
from anabranch_contracts import events as e


def branch_spawned(s: RunState, ev: e.BranchSpawned, at: str) -> None:
    request = s.task if ev.fork_id == ROOT and ev.request is None else ev.request
    branch = Branch(ev.branch_id, ev.parent_branch_id, ev.fork_id, ev.order, ev.agent, request, at)
    parent = s.branches.get(ev.parent_branch_id) if ev.parent_branch_id else None
    branch.context = dict(parent.context) if parent else {}
    branch.homes = parent.homes if parent else None
    branch.spoken = list(parent.spoken) if parent else []
    if parent is not None and s.forks[ev.fork_id].inherits:
        branch.memory = {agent: list(messages) for agent, messages in parent.memory.items()}
    enter(s, branch)


def enter(s: RunState, branch: Branch) -> None:
    """A new branch waits for admission."""
    fork = s.forks[branch.fork_id]
    if fork.wants_people:
        branch.origin = (branch.agent, branch.request)
    s.branches[branch.id] = branch
    s.branch_count += 1
    s.pending[branch.id] = None
    join(fork, branch.id)
    enter_active(s, branch)
    s.touched_branches[branch.id] = branch


def join(fork: Fork, token_id: str) -> None:
    """One more token in the fork."""
    fork.members[token_id] = None
    fork.ever += 1


def branch_held(s: RunState, ev: e.BranchHeld, at: str) -> None:
    branch = s.branches[ev.branch_id]
    arrive(s, branch, ev.agent)
    stop_running(s, branch)
    branch.status, branch.request = "pending", ev.request
    s.pending[branch.id] = None
    s.touched_branches[branch.id] = branch


def arrive(s: RunState, branch: Branch, agent: str) -> None:
    """An active branch is at `agent` from now on."""
    if branch.agent == agent:
        return
    place(s.active, branch, -1)
    talk(s, branch, agent)
    branch.agent, branch.dispatched = agent, None
    place(s.active, branch, 1)


def talk(s: RunState, branch: Branch, agent: str) -> None:
    """The branch moves on to `agent`; along a bidirectional edge that is half a turn of a conversation."""
    if (branch.agent, agent) in s.graph.conversational:
        branch.rise("conversation")
        pair = "|".join(sorted((branch.agent, agent)))
        branch.turns[pair] = branch.turns.get(pair, 0) + 1


def result_delivered(s: RunState, ev: e.ResultDelivered, at: str) -> None:
    record = {"agent": ev.agent, "branch_id": ev.branch_id, "result": ev.value}
    s.deliveries.append((ev.order, record))
    s.result_count += 1


def branch_completed(s: RunState, ev: e.BranchCompleted, at: str) -> None:
    branch = s.branches[ev.branch_id]
    branch.result_version = s.version
    if ev.arrives_at is not None:
        _arrival(s, s.forks[ev.arrives_at], branch, ev)
    elif branch.fork_id == ROOT:
        _arrived(s, s.forks[ROOT])
    end(s, branch, "completed", at)


def _arrival(s: RunState, fork: Fork, branch: Branch, ev: e.BranchCompleted) -> None:
    if fork.id == ROOT:
        s.deliveries.append((branch.order, {"agent": ev.agent, "branch_id": branch.id, "result": ev.result}))
        s.result_count += 1
    else:
        record = {"agent": ev.agent, "branch_id": branch.id, "status": "completed", "result": ev.result}
        fork.records.append((branch.order, record))
    _arrived(s, fork)


def _arrived(s: RunState, fork: Fork) -> None:
    fork.arrivals += 1
    if fork.shared:
        s.shared[fork.id] = None


def branch_failed(s: RunState, ev: e.BranchFailed, at: str) -> None:
    branch = s.branches[ev.branch_id]
    fork = s.forks[branch.fork_id]
    if branch.waits_on is None and branch.id not in s.tokens:
        arrive(s, branch, ev.agent)
    branch.error = ev.error
    count_failure(s, fork, branch, ev.error)
    end(s, branch, "failed", at)


def branch_cancelled(s: RunState, ev: e.BranchCancelled, at: str) -> None:
    branch = s.branches[ev.branch_id]
    count_cancelled(s.forks[branch.fork_id], branch, "cancelled")
    end(s, branch, "cancelled", at)


def branch_merged(s: RunState, ev: e.BranchMerged, at: str) -> None:
    end(s, s.branches[ev.branch_id], "merged", at)


def end(s: RunState, branch: Branch, status: str, at: str) -> None:
    """The branch is counted nowhere any more, and its token is gone from its fork."""
    leave(s, branch)
    branch.status, branch.finished_at = status, at
    step = branch.step
    if step is not None and step.status in ("requested", "waiting"):
        step.status = "cancelled"
        s.touched_steps[step.id] = step
    s.touched_branches[branch.id] = branch
    del s.branches[branch.id]
    gone(s, s.forks[branch.fork_id], branch.id)


def gone(s: RunState, fork: Fork, token_id: str) -> None:
    """A token left the fork; the last one settles it."""
    del fork.members[token_id]
    if fork.members:
        return
    if fork.closed:
        del s.forks[fork.id]
        fork = s.forks[ROOT] if fork.id == ORPHANS else fork  # a run is over when the last orphan is
    settle_if_empty(s, fork)


def leave(s: RunState, branch: Branch) -> None:
    """Take the branch out of wherever it is: parked, waiting on a fork or for a person, or at work."""
    if branch.id in s.tokens:
        unpark(s, s.tokens[branch.id])
    elif branch.waits_on is not None:
        fork = s.forks[branch.waits_on]
        trace = s.convergences.pop(fork.id)
        trace.status = "cancelled"
        s.touched_convergences[trace.id] = trace
        close(s, fork, branch)
    elif branch.status in ("pending", "running") or branch.waits_for is not None:
        close_request(s, branch)
        stop_running(s, branch)
        leave_active(s, branch)


def stop_running(s: RunState, branch: Branch) -> None:
    """The branch runs no step any more, nor waits for one."""
    if branch.status == "running":
        s.running -= 1
    s.pending.pop(branch.id, None)
    s.troubled.pop(branch.id, None)
    if branch.step is not None:
        branch.step.trouble = None
    clear_timer(s, retry_timer(branch.id))


def close(s: RunState, fork: Fork, owner: Branch) -> None:
    """The owner waits for the fork no longer, nor does anybody decide about it."""
    close_fork_request(s, fork)
    stop_waiting(s, owner)
    clear_timer(s, fork_timer(fork.id))
    fork.clock = None
    for work in (s.settled, s.suspect, s.shared):
        work.pop(fork.id, None)
    if not fork.members:
        del s.forks[fork.id]


def park(s: RunState, token: Token) -> None:
    """A token waits at its convergence node."""
    s.tokens[token.id] = token
    s.parked.setdefault(token.node, {})[token.id] = None
    hold(s, token, 1)
    fork = s.forks[token.fork_id]
    fork.here += 1
    if fork.shared:
        s.shared[fork.id] = None


def unpark(s: RunState, token: Token) -> None:
    """A token waits at its convergence node no longer."""
    del s.tokens[token.id]
    hold(s, token, -1)
    s.forks[token.fork_id].here -= 1
    here = s.parked[token.node]
    del here[token.id]
    if not here:
        del s.parked[token.node]
