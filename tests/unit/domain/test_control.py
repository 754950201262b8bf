"""Semantics 9: pause, resume and checkpoint at any time, commands said twice, and those that are refused."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from anabranch.domain import control
from anabranch.domain.deciders import Command, Supervisor
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import messages as m
from anabranch_contracts.reply_builders import ask_user, final_response, invoke_agent, parallel_invoke, retry_later
from tests.unit.domain.runs import RUN, Run

CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}
HUB = {
    "nodes": ["H", "W1", "W2", "X", {"name": "Y", "is_convergence_point": True}],
    "edges": ["H <-> W1", "H <-> W2", "W1 <-> X", "W1 -> Y", "X -> Y", "W2 -> Y"],
    "entry": "H",
}
W1 = "b0.f1.b0"


def split(config: Any = None) -> Run:
    """The hub waits for its two spokes."""
    run = Run(HUB, config=config)
    run.reply("H", parallel_invoke(["W1", "W2"]))
    return run


def test_a_paused_run_records_results_and_starts_nothing() -> None:
    run = split()
    run.pause()
    run.reply("W1", final_response("one"))
    run.reply("W2", final_response("two"))
    assert run.state.shown_status == "paused" and not run.asked and len(run.of("StepCompleted")) == 3
    run.resume()
    assert [r["result"] for r in run.at("H")["request"]] == ["one", "two"]
    assert run.state.shown_status == "running" and run.replayed() == run.state


def test_the_next_step_of_a_paused_run_is_held_with_its_request() -> None:
    run = Run(CHAIN)
    run.pause()
    run.reply("A", "a")
    assert not run.asked and run.last("BranchHeld").request == "a"
    run.resume()
    assert run.at("B")["request"] == "a"


def test_a_paused_run_keeps_asking_for_the_steps_that_run() -> None:
    run = Run(CHAIN)
    run.pause()
    assert list(run.asked) == ["b0#1"]


def test_what_fails_in_a_paused_run_is_ruled_on_when_it_goes_on() -> None:
    run = Run(CHAIN, config={"retry": {"base_delay": 0}})
    run.pause()
    run.fail("A", "transient")
    assert not run.asked and not run.state.timers
    run.resume()
    assert run.at("A")["attempt"] == 2


def test_a_retry_that_is_due_in_a_pause_waits_for_its_end() -> None:
    run = Run(CHAIN)
    run.reply("A", retry_later(5))
    run.pause()
    run.wait(10)
    assert not run.asked
    run.resume()
    assert run.at("A")["attempt"] == 2


def test_nothing_converges_in_a_pause() -> None:
    run = split()
    run.pause()
    for spoke in ("W1", "W2"):
        run.reply(spoke, invoke_agent("Y", spoke))
    assert not run.of("BranchConverged")
    run.resume()
    assert [r["result"] for r in run.at("Y")["request"]] == ["W1", "W2"]


def test_people_are_heard_in_a_pause_and_followed_after_it() -> None:
    run = Run(CHAIN)
    run.pause()
    run.reply("A", ask_user("which?"))
    run.answer("this")
    assert not run.open and not run.asked
    run.resume()
    assert run.at("A")["request"] == "this"


AGAIN: list[tuple[str, Callable[[Run], Any], str]] = [
    ("pause", Run.pause, "RunPaused"),
    ("resume", lambda run: run.pause() and run.resume(), "RunResumed"),
    ("cancel", Run.cancel, "RunCancelled"),
    ("cancel a branch", lambda run: run.cancel(W1), "BranchCancelled"),
]


@pytest.mark.parametrize(("name", "command", "event"), AGAIN, ids=[name for name, *_ in AGAIN])
def test_a_command_said_twice_is_one(name: str, command: Callable[[Run], Any], event: str) -> None:
    run = split()
    command(run)
    before, version = dict(run.asked), run.state.version
    if name == "resume":
        run.resume()
    else:
        command(run)
    assert run.kinds().count(event) == 1 and run.state.version == version and run.asked == before
    assert run.replayed() == run.state


@pytest.mark.parametrize("command", [Run.pause, Run.resume, Run.cancel, lambda run: run.cancel("b0")])
def test_a_finished_run_stays_as_it_is(command: Callable[[Run], list[Any]]) -> None:
    run = Run({"nodes": ["A"]})
    run.reply("A", "done")
    assert command(run) == [] and run.state.status == "completed"


COMMANDS = [
    m.PauseRun(run_id=RUN),
    m.ResumeRun(run_id=RUN),
    m.CancelRun(run_id=RUN),
    m.CancelRun(run_id=RUN, branch_id="b0"),
    m.CheckpointRun(run_id=RUN, name="here"),
    m.UserInputProvided(run_id=RUN, request_id=UUID(int=1), value=1),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_for_an_unknown_run_is_refused_with_its_reason(command: Command) -> None:
    turn = Turn(RunState(RUN), Run(CHAIN).now, UUID(int=1), "supervisor")
    with pytest.raises(Refused, match=f"run {RUN} is unknown"):
        Supervisor().decide(turn, command)
    assert not turn.events


@pytest.mark.parametrize("status", ["running", "paused", "completed"])
def test_a_checkpoint_names_the_version_it_is_made_at(status: str) -> None:
    run = Run({"nodes": ["A"]})
    if status != "running":
        run.pause() if status == "paused" else run.reply("A", "done")
    version = run.state.version
    run.checkpoint("here")
    (row,) = run.rows("checkpoints")
    assert run.state.shown_status == status and (row["name"], row["version"]) == ("here", version)
    assert run.replayed() == run.state


NAMES = [
    ("taken", "checkpoint 'taken' exists at version 3; choose another name"),
    ("auto:x", "auto:"),
    ("12", "numbers"),
    ("b0#2", "step ids"),
]


@pytest.mark.parametrize(("name", "why"), NAMES)
def test_a_name_that_cannot_be_had_is_refused(name: str, why: str) -> None:
    run = Run(CHAIN)
    run.checkpoint("taken")
    with pytest.raises(Refused, match=why):
        run.checkpoint(name)
    assert run.kinds().count("CheckpointCreated") == 1


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_has_1_to_200_characters(name: str) -> None:
    with pytest.raises(ValidationError):
        m.CheckpointRun(run_id=RUN, name=name)


def test_a_run_has_a_bounded_number_of_checkpoints() -> None:
    run = Run(CHAIN)
    for i in range(control.MAX_CHECKPOINTS):
        run.checkpoint(f"c{i}")
    with pytest.raises(Refused, match="1000 checkpoints"):
        run.checkpoint("one more")


def test_every_convergence_is_a_checkpoint() -> None:
    run = split()
    for spoke in ("W1", "W2"):
        run.reply(spoke, invoke_agent("Y", spoke))
    other = split()
    for spoke in ("W1", "W2"):
        other.reply(spoke, final_response(spoke))
    assert [row["name"] for row in run.rows("checkpoints")] == ["auto:Y#1"]
    (row,) = other.rows("checkpoints")
    assert row["name"] == "auto:b0.f1" and type(other.events[row["version"] - 1].event).__name__ == "ForkSettled"
