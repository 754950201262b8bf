"""Semantics 7: a result that nobody waits for any more is recorded with its cost, and changes nothing."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import messages as m
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import RUN, Run

JSON = Any
TALK = {"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"}
USAGE = {"input_tokens": 3, "output_tokens": 4, "cost": 0.5}
CALL = {"next_action": "call", "number": 1, "print": "p", "invocations": [{"agent": "B"}]}


def answered(run: Run) -> JSON:
    step = run.at("A")
    run.reply("A", "first")
    return step


def steered(run: Run) -> JSON:
    step = run.at("A")
    run.reply("A", {"next_action": "dance"})
    return step


def failed_and_waiting(run: Run) -> JSON:
    step = run.at("A")
    run.fail("A", "transient")
    return step


def retried(run: Run) -> JSON:
    step = run.at("A")
    run.fail("A", "transient")
    run.wait(60)
    return step


def suspended(run: Run) -> JSON:
    step = run.at("A")
    run.reply("A", CALL)
    return step


def asking(run: Run) -> JSON:
    step = run.at("A")
    run.reply("A", build.ask_user("?"))
    return step


def paused(run: Run) -> JSON:
    step = answered(run)
    run.pause()
    return step


def branch_cancelled(run: Run) -> JSON:
    run.reply("A", build.parallel_invoke(["B", "B"]))
    step = run.asked["b0.f1.b0#1"]
    run.cancel("b0.f1.b0")
    return step


def run_completed(run: Run) -> JSON:
    step = run.at("A")
    run.reply("A", build.final_response("done"))
    return step


def run_failed(run: Run) -> JSON:
    step = run.at("A")
    run.fail("A")
    return step


def run_cancelled(run: Run) -> JSON:
    step = run.at("A")
    run.cancel()
    return step


def of_an_attempt_to_come(run: Run) -> JSON:
    return {**run.at("A"), "attempt": 2}


def of_an_unknown_step(run: Run) -> JSON:
    return {**run.at("A"), "step_id": "b0#9"}


def of_an_unknown_branch(run: Run) -> JSON:
    return {**run.at("A"), "branch_id": "b9"}


OUTDATED: list[Callable[[Run], JSON]] = [
    answered,
    steered,
    failed_and_waiting,
    retried,
    suspended,
    asking,
    paused,
    branch_cancelled,
    run_completed,
    run_failed,
    run_cancelled,
    of_an_attempt_to_come,
    of_an_unknown_step,
    of_an_unknown_branch,
]
RESULTS: list[dict[str, JSON]] = [
    {"response": "late"},
    {"response": build.terminal_error("late")},
    {"error": m.StepError(kind="terminal", type="Late", message="late")},
]


@pytest.mark.parametrize("result", RESULTS, ids=["content", "action", "failure"])
@pytest.mark.parametrize("outdated", OUTDATED)
def test_an_outdated_result_is_recorded_with_its_cost_and_changes_nothing(
    outdated: Callable[[Run], JSON], result: dict[str, JSON]
) -> None:
    run = Run(TALK)
    step = outdated(run)
    before, asked = deepcopy(run.state), run.asked
    (event,) = run.late(step, worker="w", usage=m.Usage(**USAGE), **result)
    assert type(event).__name__ == "StepResultDiscarded"
    assert (event.step_id, event.attempt, event.worker) == (step["step_id"], step["attempt"], "w")
    ended = run.state.terminal
    assert event.reason == (f"run is {run.state.status}" if ended else "not the attempt that is waited for")
    assert event.usage == USAGE
    assert run.asked == asked and run.replayed() == run.state
    run.state.version, run.state.at = before.version, before.at
    assert run.state == before


def test_a_discarded_result_does_not_count_against_the_budget() -> None:
    run = Run({**TALK, "rules": [{"type": "BudgetRule", "max_tokens": 10}]})
    step = answered(run)
    for _ in range(3):
        run.late(step, response="late", usage=m.Usage(**USAGE))
    run.reply("B", "b", usage=m.Usage(**USAGE))
    assert run.state.status == "running" and run.state.tokens_used == 7


@pytest.mark.parametrize("decider", [Router(), Supervisor()])
def test_a_result_for_a_run_that_nobody_knows_is_refused(decider: Any) -> None:
    ids = {"run_id": RUN, "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
    result: Any = m.StepCompleted(**ids, response="r")
    if decider.actor == "supervisor":
        result = m.StepFailed(**ids, error=m.StepError(kind="terminal", type="T", message="m"))
    state = RunState(RUN)
    turn = Turn(state, Run(TALK).now, RUN, decider.actor)
    with pytest.raises(Refused, match="is unknown"):
        decider.decide(turn, result)
    assert not turn.events and state == RunState(RUN)
