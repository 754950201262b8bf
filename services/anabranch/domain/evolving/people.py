"""User requests open and close; who waits for one is active, but not at work."""

from anabranch.domain.clocks import ask_timer, clear_timer, set_timer
from anabranch.domain.occupancy import place, settle_if_empty, sync_fork, work
from anabranch.domain.state import ROOT, Branch, Fork, RunState, UserRequest
from anabranch_contracts import events as e


def requested(s: RunState, ev: e.UserInputRequested, at: str) -> None:
    request = UserRequest(
        ev.request_id, ev.branch_id, ev.agent, ev.kind, ev.prompt, at, ev.choices, ev.schema, ev.returns_to,
        ev.user, ev.fork_id, ev.default,
    )  # fmt: skip
    s.requests[request.id] = s.touched_requests[request.id] = request
    if ev.expires_at is not None:
        set_timer(s, ask_timer(request.id), ev.expires_at)
    if ev.kind == "fork":
        _fork_waits(s, ev)
    elif ev.kind != "notice":
        _branch_waits(s, s.branches[ev.branch_id], request)


def _branch_waits(s: RunState, branch: Branch, request: UserRequest) -> None:
    if branch.status == "running":
        s.running -= 1
    s.pending.pop(branch.id, None)
    s.troubled.pop(branch.id, None)
    branch.status, branch.waits_for, branch.request = "waiting", request.id, None
    branch.asks += 1
    branch.rise("user_interaction")
    if request.user is not None and (branch.agent, request.user) in s.graph.conversational:
        pair = "|".join(sorted((branch.agent, request.user)))
        branch.turns[pair] = branch.turns.get(pair, 0) + 2  # there and back
    work(s, branch.fork_id, -1, +1)
    s.touched_branches[branch.id] = branch


def _fork_waits(s: RunState, ev: e.UserInputRequested) -> None:
    """Its owner counts as active, so that nothing fires that it could still reach."""
    fork = s.forks[ev.fork_id or ROOT]
    fork.asked, fork.decided, fork.asks = ev.request_id, "ask", fork.asks + 1
    s.settled.pop(fork.id, None)
    owner = _owner(s, fork)
    if owner is not None:
        place(s.active, owner, 1)
        owner.rise("user_interaction")
        s.touched_branches[owner.id] = owner
    work(s, owner.fork_id if owner is not None else fork.id, 0, +1)
    sync_fork(s, fork)


def _owner(s: RunState, fork: Fork) -> Branch | None:
    return s.branches.get(fork.owner) if fork.owner is not None else None


def _fork_waits_no_more(s: RunState, fork: Fork) -> None:
    owner = _owner(s, fork)
    fork.asked = None
    if owner is not None:
        place(s.active, owner, -1)
    work(s, owner.fork_id if owner is not None else fork.id, 0, -1)
    settle_if_empty(s, fork)


def provided(s: RunState, ev: e.UserInputProvided, at: str) -> None:
    """The answer is there; what it means is said by the events that follow."""
    request = s.requests.pop(ev.request_id)
    request.status, request.value, request.answered_at = "answered", ev.value, at
    s.touched_requests[request.id] = request
    clear_timer(s, ask_timer(request.id))
    if request.kind == "fork":
        _fork_waits_no_more(s, s.forks[request.fork_id or ROOT])
    elif request.kind != "notice":
        _branch_goes_on(s, s.branches[ev.branch_id], request)


def _branch_goes_on(s: RunState, branch: Branch, request: UserRequest) -> None:
    branch.waits_for, branch.status = None, "pending"
    work(s, branch.fork_id, +1, -1)
    if request.kind == "call" and branch.step is not None:
        branch.step.calls[-1]["value"] = request.value
        s.pending[branch.id] = None
    if request.kind == "error" and branch.step is not None:  # whatever is decided, the step begins afresh
        step = branch.step
        step.rejections = step.failures = step.deferrals = step.limits = 0
        step.limited_since = step.steering = None
    s.touched_branches[branch.id] = branch


def close_request(s: RunState, branch: Branch) -> None:
    """A branch that ends waits for nobody; it counts as at work until it has left."""
    if branch.waits_for is not None:
        _cancelled(s, branch.waits_for)
        branch.waits_for, branch.status = None, "pending"
        work(s, branch.fork_id, +1, -1)


def close_fork_request(s: RunState, fork: Fork) -> None:
    """Nobody need decide about the fork any more."""
    if fork.asked is not None:
        _cancelled(s, fork.asked)
        _fork_waits_no_more(s, fork)


def _cancelled(s: RunState, request_id: str) -> None:
    request = s.requests.pop(request_id)
    request.status = "cancelled"
    s.touched_requests[request.id] = request
    clear_timer(s, ask_timer(request.id))
