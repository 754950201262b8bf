"""The two deciders over one state: router (where control goes) and supervisor (the life of branches).

A decider is a value with three questions: which messages are its own, is this one stale, what does it lead to.
Whatever a message leads to, what is due in the run then is done in the same turn, by whoever has it in hand: so a run
that goes well never waits for the supervisor, and what it is at never depends on who was quicker.
"""

from typing import Protocol

from anabranch.domain import answering, control, forking, intake, routing, supervision
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import messages as m

Command = m.UserInputProvided | m.CancelRun | m.PauseRun | m.ResumeRun | m.CheckpointRun
Input = intake.Request | forking.Fork | m.StepCompleted | m.StepFailed | m.BranchNews | m.RecoverRun | Command


class Decider(Protocol):
    """What the handler asks of a service's rules."""

    actor: str

    def stale(self, state: RunState, message: Input) -> bool:
        """Whether the message, delivered now, could only be a repetition or come too late."""
        ...

    def decide(self, turn: Turn, message: Input) -> None:
        """Record what the message leads to; raises `Refused`, with nothing recorded, for its sender."""
        ...


def is_new(state: RunState) -> bool:
    """Whether nothing was ever recorded of the run."""
    return state.version == 0


class Router:
    """Intake of runs, and where each accepted reply leads."""

    actor = "router"

    def stale(self, state: RunState, message: Input) -> bool:
        match message:
            case intake.Request():
                return not is_new(state) and intake.awaited(state, message.reply_to, message.reply_correlation)
            case m.StepCompleted():
                return not is_new(state) and not routing.expects(state, message)
            case _:
                return False

    def decide(self, turn: Turn, message: Input) -> None:
        self._decide(turn, message)
        supervision.tend(turn)

    def _decide(self, turn: Turn, message: Input) -> None:
        match message:
            case intake.Request() if is_new(turn.state):
                intake.take(turn, message)
            case intake.Request():
                intake.known(turn, message)
            case m.StepCompleted() if not is_new(turn.state):
                routing.take_result(turn, message)
            case m.StepCompleted():
                raise Refused(f"run {message.run_id} is unknown")
            case _:
                raise Refused("the router does not take this message")


class Supervisor:
    """Failures, people, control, timers, and whatever else a run waits with."""

    actor = "supervisor"

    def stale(self, state: RunState, message: Input) -> bool:
        match message:
            case m.StepFailed():
                return not is_new(state) and not routing.expects(state, message)
            case forking.Fork():
                return not is_new(state) and intake.awaited(state, message.reply_to, message.reply_correlation)
            case m.UserInputProvided() | m.CheckpointRun():
                return not is_new(state)
            case m.CancelRun() | m.PauseRun() | m.ResumeRun():
                return not is_new(state)  # the same command again could undo what another did since
            case _:
                return False

    def decide(self, turn: Turn, message: Input) -> None:
        if isinstance(message, forking.Fork):
            forking.fork(turn, message) if is_new(turn.state) else forking.known(turn, message)
        elif is_new(turn.state):
            raise Refused(f"run {turn.state.run_id} is unknown")
        else:
            self._decide(turn, message)
        supervision.tend(turn)

    def _decide(self, turn: Turn, message: Input) -> None:
        match message:
            case m.StepFailed():
                supervision.take_failure(turn, message)
            case m.UserInputProvided():
                answering.take_answer(turn, message)
            case m.CancelRun():
                control.cancel(turn, message)
            case m.PauseRun():
                control.pause(turn, message)
            case m.ResumeRun():
                control.resume(turn)
            case m.CheckpointRun():
                control.checkpoint(turn, message)
            case m.BranchNews() | m.RecoverRun():
                pass  # only to be tended
            case _:
                raise Refused("the supervisor does not take this message")
