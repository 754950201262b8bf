"""Commands of people and clients: cancel, pause, resume, checkpoint (semantics 9). All but checkpoints idempotent."""

from anabranch.domain import settling
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import messages as m
from anabranch_contracts.events import CheckpointCreated, RunCancelled, RunPaused, RunResumed

MAX_CHECKPOINTS = 1000
AUTOMATIC = "auto:"


def cancel(turn: Turn, command: m.CancelRun) -> None:
    """End the run, or one branch with everything inside; what has ended already stays as it is."""
    state = turn.state
    if state.terminal:
        return
    if command.branch_id is None:
        turn.record(RunCancelled(command.reason))
    elif command.branch_id in state.branches:
        settling.cancel(turn, state.branches[command.branch_id], command.reason)


def pause(turn: Turn, command: m.PauseRun) -> None:
    """Start nothing new."""
    if not turn.state.terminal and not turn.state.paused:
        turn.record(RunPaused(command.reason))


def resume(turn: Turn) -> None:
    """Go on."""
    if turn.state.paused:
        turn.record(RunResumed())


def checkpoint(turn: Turn, command: m.CheckpointRun) -> None:
    """Name the present version; raises `Refused` for a name that is taken, or not to be had."""
    state, name = turn.state, command.name
    if name in state.checkpoints:
        raise Refused(f"checkpoint {name!r} exists at version {state.checkpoints[name]}; choose another name")
    if name.startswith(AUTOMATIC) or name.isdigit() or "#" in name:
        taken = f"numbers, step ids (with '#') and names that begin with {AUTOMATIC!r} are taken"
        raise Refused(f"checkpoint {name!r}: {taken}; choose another")
    if len(state.checkpoints) >= MAX_CHECKPOINTS:
        raise Refused(f"the run has {MAX_CHECKPOINTS} checkpoints already")
    turn.record(CheckpointCreated(name, state.version))
