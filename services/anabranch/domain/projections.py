"""Projection rows: drawn from the state for whatever the last events touched, so rebuilding is the same fold.

A step has a row from when something has come of it. Until then the row of its branch says it all: `result_version` of
a branch that runs is that of its request.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from anabranch.domain.evolve import evolve
from anabranch.domain.identity import derived
from anabranch.domain.recorded import Recorded, Row
from anabranch.domain.state import Branch, Convergence, RunState, Step, UserRequest

JSON = Any


def fold_rows(recorded: Iterable[Recorded]) -> list[Row]:
    """The final rows of ONE run's whole stream."""
    state: RunState | None = None
    for one in recorded:
        state = evolve(state or RunState(one.run_id), one)
    return draw_rows(state) if state is not None else []


def draw_rows(state: RunState) -> list[Row]:
    """Rows of everything touched since they were last drawn; forgets the touches."""
    rows = [Row("run_rows", _run(state))]
    rows += [Row("branch_rows", _branch(state, b)) for b in state.touched_branches.values()]
    rows += [Row("step_rows", _step(state, s)) for s in state.touched_steps.values() if not s.fresh]
    rows += [Row("convergences", _convergence(state, c)) for c in state.touched_convergences.values()]
    rows += [
        Row("timers", {"run_id": state.run_id, "timer_id": k, "due_at": _time(at)})
        for k, at in state.touched_timers.items()
    ]
    rows += [Row("user_requests", _request(state, r)) for r in state.touched_requests.values()]
    rows += [Row("checkpoints", _checkpoint(state, name, *c)) for name, c in state.touched_checkpoints.items()]
    forget_touches(state)
    return rows


def forget_touches(state: RunState) -> None:
    """Start counting touches anew."""
    state.touched_branches, state.touched_steps = {}, {}
    state.touched_convergences, state.touched_timers = {}, {}
    state.touched_requests, state.touched_checkpoints = {}, {}


def _time(value: str | None) -> datetime | None:
    """A time as a worker wrote it; what is no time is left out rather than refused."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo is not None else None
    except (ValueError, OverflowError):  # the first and last hours of the calendar have no UTC
        return None


def _run(s: RunState) -> dict[str, JSON]:
    return {
        "run_id": s.run_id,
        "status": s.shown_status,
        "version": s.version,
        "total_steps": s.total_steps,
        "branch_count": s.branch_count,
        "parallel_branches": s.most_running,
        "convergence_wait_time": s.wait_time,
        "result_count": s.result_count,
        "error": s.error,
        "requested_at": _time(s.requested_at),
        "started_at": _time(s.started_at),
        "finished_at": _time(s.finished_at),
        "finished_version": s.finished_version,
        "forked_from": UUID(s.forked_from) if s.forked_from is not None else None,
        "forked_at_version": s.forked_at_version,
    }


def _branch(s: RunState, b: Branch) -> dict[str, JSON]:
    asked = b.step.requested_version if b.step is not None and b.step.fresh else None
    return {
        "run_id": s.run_id,
        "branch_id": b.id,
        "parent_branch_id": b.parent,
        "type": b.type,
        "status": b.status,
        "agent": b.agent,
        "step_count": b.steps,
        "error": b.error,
        "result_version": b.result_version or asked,
        "spawned_at": _time(b.spawned_at),
        "finished_at": _time(b.finished_at),
    }


def _step(s: RunState, t: Step) -> dict[str, JSON]:
    usage = t.usage or {}
    return {
        "run_id": s.run_id,
        "step_id": t.id,
        "branch_id": t.branch_id,
        "step_number": t.number,
        "agent": t.agent,
        "status": t.status,
        "attempt": t.attempt,
        "action": t.action,
        "error": t.error,
        "worker": t.worker,
        "requested_version": t.requested_version,
        "result_version": t.result_version,
        "requested_at": _time(t.requested_at),
        "started_at": _time(t.started_at),
        "finished_at": _time(t.finished_at),
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cost": usage.get("cost"),
    }


def _convergence(s: RunState, c: Convergence) -> dict[str, JSON]:
    return {
        "run_id": s.run_id,
        "convergence_id": c.id,
        "kind": c.kind,
        "node": c.node,
        "status": c.status,
        "into_branch_id": c.into,
        "expected": c.expected,
        "arrived": c.arrived,
        "failed": c.failed,
        "opened_at": _time(c.opened_at),
        "fired_at": _time(c.fired_at),
        "wait_time": c.wait_time,
    }


def _request(s: RunState, r: UserRequest) -> dict[str, JSON]:
    return {
        "run_id": s.run_id,
        "request_id": UUID(r.id),
        "branch_id": r.branch_id,
        "agent": r.agent,
        "kind": r.kind,
        "prompt": r.prompt,
        "choices": r.choices,
        "schema": r.schema,
        "status": r.status,
        "value": r.value,
        "requested_at": _time(r.requested_at),
        "answered_at": _time(r.answered_at),
    }


def _checkpoint(s: RunState, name: str, version: int, at: str) -> dict[str, JSON]:
    return {
        "checkpoint_id": derived(s.run_id, f"checkpoint/{name}"),
        "run_id": s.run_id,
        "name": name,
        "version": version,
        "created_at": _time(at),
    }
