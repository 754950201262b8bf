"""What begins and ends a run."""

from anabranch.domain.state import ROOT, Branch, Fork, RunState
from anabranch_contracts import events as e


def run_started(s: RunState, ev: e.RunStarted, at: str) -> None:
    s.status, s.requested_at, s.started_at = "running", at, at
    s.topology, s.topology_hash, s.request_hash = ev.topology, ev.topology_hash, ev.request_hash
    s.task, s.context, s.config = ev.task, ev.context, ev.config
    s.reply_to, s.reply_correlation = ev.reply_to, ev.reply_correlation
    entries = len(s.graph.entries)
    s.forks[ROOT] = Fork(ROOT, None, None, entries, ev.config.get("convergence", {}), at)


def run_rejected(s: RunState, ev: e.RunRejected, at: str) -> None:
    s.requested_at, s.request_hash = at, ev.request_hash
    s.reply_to, s.reply_correlation = ev.reply_to, ev.reply_correlation
    s.error = {"kind": "rejected", "type": "InvalidRequest", "message": "; ".join(ev.errors), "causes": ev.errors}
    _finish(s, "rejected", at)


def run_completed(s: RunState, ev: e.RunCompleted, at: str) -> None:
    s.result_count = ev.result_count
    _finish(s, "completed", at)


def run_failed(s: RunState, ev: e.RunFailed, at: str) -> None:
    s.error = ev.error
    _finish(s, "failed", at)


def run_cancelled(s: RunState, ev: e.RunCancelled, at: str) -> None:
    _finish(s, "cancelled", at)


def _finish(s: RunState, status: str, at: str) -> None:
    """The run has its outcome: whatever was live is cancelled with it."""
    s.status, s.finished_at, s.finished_version = status, at, s.version
    for branch in s.branches.values():
        _drop(s, branch, at)
    for convergence in s.convergences.values():
        convergence.status = "cancelled"
        s.touched_convergences[convergence.id] = convergence
    for live in (s.branches, s.forks, s.tokens, s.parked, s.active, s.waiting, s.waiting_held, s.pending):
        live.clear()
    for work in (s.troubled, s.retries, s.settled, s.suspect, s.convergences, s.deliveries, s.alarms):
        work.clear()
    s.running = 0


def _drop(s: RunState, branch: Branch, at: str) -> None:
    branch.status, branch.finished_at = "cancelled", at
    s.touched_branches[branch.id] = branch
    step = branch.step
    if step is not None and step.status in ("requested", "waiting"):
        step.status = "cancelled"
        s.touched_steps[step.id] = step
        if step.due_at is not None:
            s.touched_timers[step.id] = None
