"""What begins, governs and ends a run."""

from datetime import datetime

from anabranch.domain.clocks import RUN_TIMER, ask_timer, clear_timer, fork_timer, set_timer, show_timers
from anabranch.domain.evolving.forks import wind
from anabranch.domain.occupancy import sync_fork, sync_run
from anabranch.domain.policies import root_policy
from anabranch.domain.rules import least
from anabranch.domain.state import ROOT, Branch, Clock, Fork, RunState
from anabranch_contracts import events as e

MOST_REPLIES = 10


def run_started(s: RunState, ev: e.RunStarted, at: str) -> None:
    s.status, s.requested_at, s.started_at = "running", at, at
    s.topology, s.topology_hash, s.request_hash = ev.topology, ev.topology_hash, ev.request_hash
    s.task, s.context, s.config = ev.task, ev.context, ev.config
    _await(s, ev)
    entries = len(s.graph.entries)
    s.forks[ROOT] = Fork(ROOT, None, None, entries, root_policy(s), at)
    if entries > 1:  # one entry alone waits for no other
        wind(s, s.forks[ROOT])
    _wind_run(s)


def _await(s: RunState, ev: e.RunStarted | e.RunRejected | e.RunForked | e.OutcomeAwaited) -> None:
    """One more address that the outcome goes to; the oldest are given up."""
    if ev.reply_to is not None:
        s.replies = [*s.replies, (ev.reply_to, ev.reply_correlation)][-MOST_REPLIES:]


def outcome_awaited(s: RunState, ev: e.OutcomeAwaited, at: str) -> None:
    _await(s, ev)


def _wind_run(s: RunState) -> None:
    seconds = least(s.graph.rules.seconds, s.config.get("run_timeout"))
    if seconds is not None:
        s.clock = Clock(seconds)
        sync_run(s)


def run_rejected(s: RunState, ev: e.RunRejected, at: str) -> None:
    s.requested_at, s.request_hash = at, ev.request_hash
    _await(s, ev)
    s.error = {"kind": "rejected", "type": "InvalidRequest", "message": "; ".join(ev.errors), "causes": ev.errors}
    _finish(s, "rejected", at)


def run_forked(s: RunState, ev: e.RunForked, at: str) -> None:
    """The past is another run's; time counts from here, timers that were set stay as they are."""
    s.forked_from, s.forked_at_version = ev.source, ev.at_version
    s.request_hash, s.replies = ev.request_hash, []
    _await(s, ev)
    s.paused = False
    if ev.topology is not None and ev.topology_hash is not None:
        s.topology, s.topology_hash, s.epoch = ev.topology, ev.topology_hash, s.epoch + 1
        s.applied = {}
        for branch in s.branches.values():
            branch.passes, branch.spoken = [], []
    if ev.context is not None:
        s.context = ev.context
    if not s.terminal:
        s.requested_at = s.started_at = at
        _restart_clocks(s)
        _wait_anew(s, at)
        _ask_anew(s, at)


def _ask_anew(s: RunState, at: str) -> None:
    """People have as long to answer in the new run as they had in the other."""
    for request in s.requests.values():
        key = ask_timer(request.id)
        if key in s.timers:
            time = datetime.fromisoformat(s.timers[key]) - datetime.fromisoformat(request.requested_at)
            set_timer(s, key, (datetime.fromisoformat(at) + time).isoformat())
            request.requested_at, s.touched_requests[request.id] = at, request


def _restart_clocks(s: RunState) -> None:
    s.clock = None
    clear_timer(s, RUN_TIMER)
    _wind_run(s)
    for fork in s.forks.values():
        if fork.clock is not None:
            clear_timer(s, fork_timer(fork.id))
            fork.clock.since = None
            sync_fork(s, fork)
    show_timers(s)


def run_paused(s: RunState, ev: e.RunPaused, at: str) -> None:
    s.paused = True
    _stop_or_go(s)


def run_resumed(s: RunState, ev: e.RunResumed, at: str) -> None:
    s.paused = False
    _wait_anew(s, at)
    _stop_or_go(s)


def _wait_anew(s: RunState, at: str) -> None:
    """Time that a run stood still is nobody's wait for a rate limit."""
    for branch in s.branches.values():
        if branch.step is not None and branch.step.limited_since is not None:
            branch.step.limited_since = at


def _stop_or_go(s: RunState) -> None:
    sync_run(s)
    for fork in s.forks.values():
        sync_fork(s, fork)
    show_timers(s)


def checkpoint_created(s: RunState, ev: e.CheckpointCreated, at: str) -> None:
    s.checkpoints[ev.name] = ev.version
    s.touched_checkpoints[ev.name] = (ev.version, at)


def rule_applied(s: RunState, ev: e.RuleApplied, at: str) -> None:
    branch = s.branches[ev.branch_id] if ev.branch_id is not None else None
    if branch is not None and ev.local:
        branch.spoken.append(ev.rule)
    elif ev.rule >= 0:
        s.applied[ev.rule] = None
    if branch is not None and ev.action == "pause":
        branch.passes.append(ev.rule)


def rule_lifted(s: RunState, ev: e.RuleLifted, at: str) -> None:
    """The rest of a decision may be recorded under another topology's rules: then there is nothing to lift."""
    spoken = s.branches[ev.branch_id].spoken if ev.branch_id is not None else None
    if spoken is None:
        s.applied.pop(ev.rule, None)
    elif ev.rule in spoken:
        spoken.remove(ev.rule)


def run_completed(s: RunState, ev: e.RunCompleted, at: str) -> None:
    s.result, s.result_count = ev.result, ev.result_count
    _finish(s, "completed", at)


def run_failed(s: RunState, ev: e.RunFailed, at: str) -> None:
    s.error, s.result_count = ev.error, 0
    _finish(s, "failed", at)


def run_cancelled(s: RunState, ev: e.RunCancelled, at: str) -> None:
    s.error = {"kind": "cancelled", "type": "Cancelled", "message": ev.reason}
    s.result_count = 0
    _finish(s, "cancelled", at)


def run_erased(s: RunState, ev: e.RunErased, at: str) -> None:
    """What the events before it say now is what was folded; a state that was folded before is not to be used."""
    s.erased = True


def _finish(s: RunState, status: str, at: str) -> None:
    """The run has its outcome: whatever was live is cancelled with it."""
    s.status, s.finished_at, s.finished_version = status, at, s.version
    for branch in s.branches.values():
        _drop(s, branch, at)
    for convergence in s.convergences.values():
        convergence.status = "cancelled"
        s.touched_convergences[convergence.id] = convergence
    for request in s.requests.values():
        request.status = "cancelled"
        s.touched_requests[request.id] = request
    for key in s.timers:
        s.touched_timers[key] = None
    for live in (s.branches, s.forks, s.tokens, s.parked, s.active, s.waiting, s.waiting_held, s.pending, s.requests):
        live.clear()
    for work in (s.troubled, s.timers, s.settled, s.suspect, s.shared, s.convergences, s.deliveries, s.alarms):
        work.clear()
    s.running = s.busy = s.asking = 0
    s.clock, s.paused = None, False


def _drop(s: RunState, branch: Branch, at: str) -> None:
    branch.status, branch.finished_at = "cancelled", at
    s.touched_branches[branch.id] = branch
    step = branch.step
    if step is not None and step.status in ("requested", "waiting"):
        step.status = "cancelled"
        s.touched_steps[step.id] = step
