"""Where the tokens of a run are, counted so that "may node Y fire?" never walks over branches.

Three counters of places: `active[X]` tokens that run at X; `waiting[X]` owners that wait at X for their fork;
`waiting_held[X][Y]` those of them whose fork holds something parked at Y, directly or through inner forks:
these do not keep Y from firing. Orphans are counted in none of them. Parking walks up the enclosing forks once:
O(depth). Two counters of what the run is at, `busy` and `asking`, also for each fork that a clock runs for: they
stop the clocks while only people are waited for.
"""

from collections.abc import Iterable, Iterator

from anabranch.domain.clocks import RUN_TIMER, fork_timer, sync
from anabranch.domain.state import ORPHANS, ROOT, Branch, Fork, RunState, Token


def count(counter: dict[str, int], key: str, change: int) -> None:
    """Add to a counter; zero leaves no key."""
    left = counter.get(key, 0) + change
    if left:
        counter[key] = left
    else:
        counter.pop(key, None)


def enclosing(state: RunState, fork_id: str) -> Iterator[Fork]:
    """The fork and those around it, innermost first, the root fork last."""
    fork: Fork | None = state.forks.get(fork_id)
    while fork is not None:
        yield fork
        owner = state.branches.get(fork.owner) if fork.owner is not None else None
        fork = state.forks.get(owner.fork_id) if owner is not None else None


def hold(state: RunState, token: Token, change: int) -> None:
    """Count a token parked at its node into (or out of) every fork around it."""
    for fork in enclosing(state, token.fork_id):
        before = fork.held.get(token.node, 0)
        count(fork.held, token.node, change)
        after = fork.held.get(token.node, 0)
        if fork.node is not None and not fork.closed and bool(before) != bool(after):
            count(state.waiting_held.setdefault(fork.node, {}), token.node, 1 if after else -1)


def work(state: RunState, fork_id: str, busy: int, asking: int = 0) -> None:
    """Count branches of a fork that are at work, or that wait for a person; clocks around stop and go with it."""
    state.busy += busy
    state.asking += asking
    sync_run(state)
    timed = state.forks[fork_id].timed
    while timed is not None:
        fork = state.forks[timed]
        fork.busy += busy
        fork.asking += asking
        sync_fork(state, fork)
        owner = state.branches.get(fork.owner) if fork.owner is not None else None
        timed = state.forks[owner.fork_id].timed if owner is not None else None


def sync_run(state: RunState) -> None:
    """The run's clock goes unless the run is paused or waits for people only."""
    if state.clock is not None:
        sync(state, RUN_TIMER, state.clock, not state.paused and (state.busy > 0 or not state.asking))


def sync_fork(state: RunState, fork: Fork) -> None:
    """So does a fork's, for what is inside it; it stops for good once the fork is decided."""
    if fork.clock is not None:
        goes = not state.paused and fork.decided is None and (fork.busy > 0 or not fork.asking)
        sync(state, fork_timer(fork.id), fork.clock, goes)


def place(counter: dict[str, int], branch: Branch, change: int) -> None:
    """Count the branch at its agent, unless it is an orphan: no convergence node waits for those."""
    if branch.homes is None:
        count(counter, branch.agent, change)


def enter_active(state: RunState, branch: Branch) -> None:
    """The branch is at work at its agent."""
    place(state.active, branch, 1)
    work(state, branch.fork_id, 1)


def leave_active(state: RunState, branch: Branch) -> None:
    """The branch is at work no longer."""
    place(state.active, branch, -1)
    work(state, branch.fork_id, -1)


def wait_on(state: RunState, branch: Branch, fork: Fork) -> None:
    """An active branch starts to wait at its agent for `fork`."""
    leave_active(state, branch)
    place(state.waiting, branch, 1)
    branch.waits_on, branch.status = fork.id, "waiting"


def stop_waiting(state: RunState, branch: Branch) -> None:
    """The branch waits for its fork no longer (and is counted nowhere until it is told to be)."""
    assert branch.waits_on is not None
    fork = state.forks[branch.waits_on]
    assert fork.node is not None
    for node in fork.held:
        count(state.waiting_held.setdefault(fork.node, {}), node, -1)
    place(state.waiting, branch, -1)
    fork.closed = True
    branch.waits_on = None


def settle_if_empty(state: RunState, fork: Fork) -> None:
    """A fork without live tokens is to be settled, unless a person decides about it; the run waits for its orphans."""
    if not (fork.members or fork.closed or fork.asked or (fork.id == ROOT and ORPHANS in state.forks)):
        state.settled[fork.id] = None


def unreachable(state: RunState, nodes: Iterable[str]) -> str | None:
    """The first of these nodes that no live token elsewhere can still reach."""
    graph = state.graph
    active, parked, waiting = (graph.mask(at) for at in (state.active, state.parked, state.waiting))
    for node in nodes:
        into = graph.into[node]
        if into & (active | parked & ~graph.bit(node)):
            continue
        if not into & waiting or all(held for held in _held_there(state, node, into)):
            return node
    return None


def _held_there(state: RunState, node: str, into: int) -> Iterator[bool]:
    """Of each place upstream at which owners wait: whether the forks of all of them hold something parked at `node`."""
    for at, waiting in state.waiting.items():
        if into & state.graph.bit(at):
            yield waiting <= state.waiting_held.get(at, {}).get(node, 0)
