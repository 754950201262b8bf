"""Given, when, then: a run in memory, moved by the pure deciders alone."""

from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.evolve import fold
from anabranch.domain.forking import Fork
from anabranch.domain.intake import Request
from anabranch.domain.pending import pending
from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import RunState
from anabranch.domain.turn import Turn
from anabranch_contracts import messages as m

JSON = Any
RUN, FORKED = UUID(int=7), UUID(int=8)


class Former(Router):
    """As of the release before: what is due is left to the supervisor."""

    def decide(self, turn: Turn, message: Any) -> None:
        self._decide(turn, message)


class Run:
    """One run; `asked` is what workers would see."""

    def __init__(self, topology: JSON, task: JSON = "task", config: JSON = None, context: JSON = None) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.state = RunState(RUN)
        self.events: list[Recorded] = []
        self.messages = 0
        body = {"task": task, "topology": topology, "config": config or {}, "context": context or {}}
        self.tell(Router(), Request(RUN, body))
        self.tend()

    def tell(self, decider: Any, message: Any) -> list[Any]:
        """Deliver a message; the events it led to."""
        self.messages += 1
        turn = Turn(self.state, self.now, UUID(int=self.messages), decider.actor)
        decider.decide(turn, message)
        self.events += turn.events
        return [recorded.event for recorded in turn.events]

    def tend(self) -> None:
        """Wake the supervisor."""
        if not self.state.terminal:
            self.tell(Supervisor(), m.RecoverRun(run_id=RUN))

    @property
    def asked(self) -> dict[str, JSON]:
        """Body of every owed step, by step id."""
        return {o.body["step_id"]: o.body for o in pending(self.state, self.now) if o.type == "StepRequested"}

    def at(self, agent: str) -> JSON:
        """The one owed step of an agent."""
        (step,) = [s for s in self.asked.values() if s["agent"] == agent]
        return step

    def reply(self, agent: str, response: JSON, step_id: str | None = None, **more: JSON) -> list[Any]:
        """The agent answers; the supervisor does what is due."""
        step = self.asked[step_id] if step_id else self.at(agent)
        events = self.late(step, response=response, **more)
        self.tend()
        return events

    def fail(self, agent: str, kind: str = "terminal", step_id: str | None = None, **more: JSON) -> None:
        """The agent's step fails."""
        step = self.asked[step_id] if step_id else self.at(agent)
        error = m.StepError(kind=kind, type="Broken", message="broken", **more)  # type: ignore[arg-type]
        ids = {k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")}
        self.tell(Supervisor(), m.StepFailed(**ids, error=error))

    def leave(self, agent: str, response: JSON) -> list[Any]:
        """The agent answers, and what is due then is left."""
        ids = {k: v for k, v in self.at(agent).items() if k in ("run_id", "branch_id", "step_id", "attempt")}
        return self.tell(Former(), m.StepCompleted(**ids, response=response))

    def late(self, step: JSON, **body: JSON) -> list[Any]:
        """A result (`response`, or `error`) of an attempt as it was once asked, whatever has become of it."""
        ids = {k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")}
        if "error" in body:
            return self.tell(Supervisor(), m.StepFailed(**ids, **body))
        return self.tell(Router(), m.StepCompleted(**ids, **body))

    @property
    def open(self) -> dict[str, JSON]:
        """Body of every open user request, by its id."""
        owed = pending(self.state, self.now)
        return {o.body["request_id"]: o.body for o in owed if o.type == "UserInputRequested"}

    def answer(self, value: JSON, request_id: str | None = None) -> list[Any]:
        """A person answers: the one open user request, or the one named."""
        (only,) = [request_id] if request_id is not None else self.open
        answer = m.UserInputProvided(run_id=self.state.run_id, request_id=UUID(only), value=value)
        return self.tell(Supervisor(), answer)

    def pause(self) -> list[Any]:
        """A client pauses the run."""
        return self.tell(Supervisor(), m.PauseRun(run_id=self.state.run_id))

    def resume(self) -> list[Any]:
        """A client lets the run go on."""
        return self.tell(Supervisor(), m.ResumeRun(run_id=self.state.run_id))

    def cancel(self, branch_id: str | None = None) -> list[Any]:
        """A client cancels the run, or one branch of it."""
        return self.tell(Supervisor(), m.CancelRun(run_id=self.state.run_id, branch_id=branch_id))

    def checkpoint(self, name: str) -> list[Any]:
        """A client names the present version."""
        return self.tell(Supervisor(), m.CheckpointRun(run_id=self.state.run_id, name=name))

    def fork(self, at: int | str, **replaced: JSON) -> "Run":
        """A new run from this one's past."""
        new = copy(self)
        new.state, new.events = RunState(FORKED), []
        command = m.ForkRun(run_id=self.state.run_id, new_run_id=FORKED, at=at, **replaced)
        new.tell(Supervisor(), Fork(FORKED, command).with_source(self.events))
        return new

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.tend()

    @property
    def result(self) -> JSON:
        """The run's result."""
        return self.last("RunCompleted").result

    def last(self, kind: str) -> Any:
        """The last event of a type."""
        return next(r.event for r in reversed(self.events) if type(r.event).__name__ == kind)

    def of(self, kind: str) -> list[Any]:
        """All events of a type."""
        return [r.event for r in self.events if type(r.event).__name__ == kind]

    def rows(self, table: str) -> list[dict[str, JSON]]:
        """The rows of a projection, in the order in which they were first touched."""
        return [dict(row.values) for row in fold_rows(self.events) if row.table == table]

    def kinds(self) -> list[str]:
        """Types of all events."""
        return [type(r.event).__name__ for r in self.events]

    def replayed(self) -> RunState | None:
        """The state, folded anew."""
        return fold(self.events)
