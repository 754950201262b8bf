"""Given, when, then: a run in memory, moved by the pure deciders alone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.evolve import fold
from anabranch.domain.intake import Request
from anabranch.domain.pending import pending
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import RunState
from anabranch.domain.turn import Turn
from anabranch_contracts import messages as m

JSON = Any
RUN = UUID(int=7)


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

    def reply(self, agent: str, response: JSON, step_id: str | None = None) -> list[Any]:
        """The agent answers; the supervisor does what is due."""
        step = self.asked[step_id] if step_id else self.at(agent)
        result = m.StepCompleted(
            **{k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")}, response=response
        )
        events = self.tell(Router(), result)
        self.tend()
        return events

    def fail(self, agent: str, kind: str = "terminal", step_id: str | None = None, **more: JSON) -> None:
        """The agent's step fails."""
        step = self.asked[step_id] if step_id else self.at(agent)
        error = m.StepError(kind=kind, type="Broken", message="broken", **more)  # type: ignore[arg-type]
        ids = {k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")}
        self.tell(Supervisor(), m.StepFailed(**ids, error=error))

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

    def kinds(self) -> list[str]:
        """Types of all events."""
        return [type(r.event).__name__ for r in self.events]

    def replayed(self) -> RunState | None:
        """The state, folded anew."""
        return fold(self.events)
