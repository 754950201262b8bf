"""What is said because of an event, and what is still owed: both pure functions of the state.

A message body is composed from the state at the moment it is published, so a step that was answered meanwhile
is not asked again.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from anabranch.domain import supervision
from anabranch.domain.clocks import ask_timer
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import Branch, RunState, Step, UserRequest
from anabranch_contracts import events as e
from anabranch_contracts.addresses import step_key
from anabranch_contracts.events import Event

JSON = Any
ENDINGS = (e.RunFailed, e.RunCancelled, e.BranchCancelled, e.BranchFailed)


class Owed(NamedTuple):
    """A message to publish: `news` nobody need listen to; `replies` are queues (with correlations) it goes to too."""

    routing_key: str
    type: str
    body: dict[str, JSON]
    news: bool = False
    replies: Sequence[tuple[str, str | None]] = ()
    public: bool = True


def announcements(state: RunState, recorded: Iterable[Recorded]) -> list[tuple[Recorded, Owed]]:
    """Each event with the message it leads to, those that the state has outgrown left out."""
    found: list[tuple[Recorded, Owed]] = []
    said: frozenset[str] = frozenset()
    for one in recorded:
        if isinstance(one.event, e.RunForked):  # what the past still owes is owed by the new run
            owing = [terminal(state)] if state.terminal else list(pending(state, one.at))
            found, said = [(one, owed) for owed in owing], frozenset(owed.type for owed in owing)
        elif (owed := _announce(state, one.event)) is not None and owed.type not in said:
            found.append((one, owed))
    return found


def stopped(state: RunState, recorded: Iterable[Recorded]) -> dict[str, JSON] | None:
    """Which steps that run now are wanted no longer: all of a run, or those of some branches; None = none."""
    branches: list[str] = []
    for event in [one.event for one in recorded if isinstance(one.event, ENDINGS)]:
        match event:
            case e.RunFailed() | e.RunCancelled():
                return {"run_id": state.key}
            case e.BranchFailed(error=error) if error.get("kind") != "timeout":
                pass
            case _:
                branches.append(event.branch_id)
    return {"run_id": state.key, "branch_ids": branches} if branches else None


def _announce(state: RunState, event: Event) -> Owed | None:
    tell = _TABLE.get(type(event))
    return tell(state, event) if tell is not None else None


def _step(state: RunState, event: e.StepRequested) -> Owed | None:
    branch = state.branches.get(event.branch_id)
    if branch is None or branch.step is None or not _asked(branch.step, event):
        return None
    return step_requested(state, branch, branch.step)


def _asked(step: Step, event: e.StepRequested) -> bool:
    return step.id == event.step_id and step.attempt == event.attempt and step.status == "requested"


def _news(key: str, kind: str, *more: str) -> Callable[[RunState, Any], Owed]:
    """News of what became of a branch, with `more` of what the event says."""

    def tell(state: RunState, event: Any) -> Owed:
        body: dict[str, JSON] = {"run_id": state.key, "branch_id": event.branch_id}
        for name in more:
            body[name] = getattr(event, name)
        return Owed(key, kind, body, news=True)

    return tell


def _contribution(state: RunState, event: e.ContributionParked) -> Owed:
    body = {"run_id": state.key, "branch_id": event.token_id, "node": event.node}
    return Owed("branch.parked", "BranchParked", body, news=True)


def _converged(state: RunState, event: e.BranchConverged) -> Owed:
    body = {
        "run_id": state.key,
        "branch_id": event.into_branch_id,
        "convergence_id": event.convergence_id,
        "node": event.node,
        "tokens": event.tokens,
        "wait_time": event.wait_time,
    }
    return Owed("branch.converged", "BranchConverged", body, news=True)


def _question(state: RunState, event: e.UserInputRequested) -> Owed | None:
    request = state.requests.get(event.request_id)
    return user_requested(state, request) if request is not None else None


def _awaited(state: RunState, event: e.OutcomeAwaited) -> Owed | None:
    replies = [(event.reply_to, event.reply_correlation)]
    return terminal(state)._replace(replies=replies, public=False) if state.terminal else None


def _outcome(state: RunState, _: Event) -> Owed:
    return terminal(state)


_TABLE: dict[type, Callable[[RunState, Any], Owed | None]] = {
    e.StepRequested: _step,
    e.BranchSpawned: _news("branch.spawned", "BranchSpawned", "agent", "parent_branch_id"),
    e.BranchParked: _news("branch.parked", "BranchParked", "node"),
    e.ContributionParked: _contribution,
    e.BranchCompleted: _news("branch.completed", "BranchCompleted", "agent"),
    e.BranchFailed: _news("branch.failed", "BranchFailed", "agent", "error"),
    e.BranchMerged: _news("branch.merged", "BranchMerged"),
    e.BranchConverged: _converged,
    e.UserInputRequested: _question,
    e.OutcomeAwaited: _awaited,
    e.RunCompleted: _outcome,
    e.RunFailed: _outcome,
    e.RunCancelled: _outcome,
    e.RunRejected: _outcome,
}
"""What is said of an event; of all others nothing is."""


def step_requested(state: RunState, branch: Branch, step: Step) -> Owed:
    """Everything a worker needs to run the step."""
    run_id = state.key
    place = {"run_id": run_id, "branch_id": branch.id, "step_number": step.number}
    body: dict[str, JSON] = {
        "run_id": run_id,
        "branch_id": branch.id,
        "step_id": step.id,
        "step_number": step.number,
        "attempt": step.attempt,
        "agent": step.agent,
        "request": step.request,
        "memory": branch.memory.get(step.agent, []),
        "context": {**state.context, **branch.context, **place},
        "can_invoke": state.graph.successors[step.agent],
        "timeout": state.config["step_timeout"],
    }
    if step.steering is not None:
        body["steering"] = step.steering
    if step.calls:
        body["calls"] = step.calls
    return Owed(step_key(step.agent), "StepRequested", body)


def user_requested(state: RunState, request: UserRequest) -> Owed:
    """Everything that whoever shows it to a person needs."""
    body: dict[str, JSON] = {
        "run_id": state.key,
        "request_id": request.id,
        "branch_id": request.branch_id,
        "agent": request.agent,
        "kind": request.kind,
        "prompt": request.prompt,
    }
    expires = state.timers.get(ask_timer(request.id))
    optional = {"choices": request.choices, "schema": request.schema, "expires_at": expires}
    body |= {name: value for name, value in optional.items() if value is not None}
    return Owed("user.requested", "UserInputRequested", body, news=True)


def terminal(state: RunState) -> Owed:
    """The outcome of a run, for whoever asked for it."""
    body: dict[str, JSON] = {"run_id": state.key, "status": state.status}
    if state.status == "completed":
        body |= {"result": state.result, "result_count": state.result_count}
    if state.error is not None:
        body["error"] = state.error
    body["metrics"] = metrics(state)
    return Owed(f"run.{state.status}", f"Run{state.status.title()}", body, news=True, replies=state.replies)


def metrics(state: RunState) -> dict[str, JSON]:
    """The seed's execution metrics; durations in seconds."""
    return {
        "total_steps": state.total_steps,
        "branch_count": state.branch_count,
        "parallel_branches": state.most_running,
        "convergence_wait_time": state.wait_time,
        "total_duration": duration(state),
    }


def duration(state: RunState) -> float | None:
    """Seconds from start to end; None while either is missing."""
    if state.started_at is None or state.finished_at is None:
        return None
    span: timedelta = datetime.fromisoformat(state.finished_at) - datetime.fromisoformat(state.started_at)
    return span.total_seconds()


def pending(state: RunState, now: datetime, but: Container[tuple[str, int]] = ()) -> Iterator[Owed]:
    """Every message still to be answered: running steps, people, and a wake-up where the supervisor has work.

    `but` = without these steps (id, attempt).
    """
    if state.terminal or state.version == 0:
        return
    for branch, step in _asked_for(state):
        if (step.id, step.attempt) not in but:
            yield step_requested(state, branch, step)
    for request in state.requests.values():
        yield user_requested(state, request)
    if supervision.due(state, now):
        yield wake_up(state)


def pending_steps(state: RunState, wanted: Container[tuple[str, int]]) -> Iterator[Owed]:
    """Those of these steps (id, attempt) that are still to be answered."""
    if not state.terminal:
        for branch, step in _asked_for(state):
            if (step.id, step.attempt) in wanted:
                yield step_requested(state, branch, step)


def wake_up(state: RunState) -> Owed:
    """Have the supervisor look at the run."""
    return Owed("run.recover", "RecoverRun", {"run_id": state.key})


def _asked_for(state: RunState) -> Iterator[tuple[Branch, Step]]:
    for branch in state.branches.values():
        if branch.step is not None and branch.status == "running" and branch.step.status == "requested":
            yield branch, branch.step


def smaller(owed: Owed, size: int, limit: int) -> Owed:
    """What to say instead of what no broker would carry: the step failed, or the outcome without its result."""
    body = owed.body
    if owed.type != "StepRequested":
        return owed._replace(body={**body, "result": None, "result_bytes": size})
    said = f"the step has {size} bytes with its memory and context, the limit is {limit}; hand over references"
    error = {"kind": "terminal", "type": "StepTooLarge", "message": said}
    failed = {key: body[key] for key in ("run_id", "branch_id", "step_id", "attempt")}
    return Owed("step.failed", "StepFailed", {**failed, "error": error})
