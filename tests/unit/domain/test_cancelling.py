"""Semantics 9: a run is cancelled, or one branch of it with everything inside."""

from collections.abc import Callable

import pytest

from anabranch.domain.pending import stopped
from anabranch_contracts.messages import Usage
from anabranch_contracts.reply_builders import ask_user, final_response, invoke_agent, parallel_invoke, retry_later
from tests.unit.domain.runs import RUN, Run
from tests.unit.domain.test_control import CHAIN, HUB, W1, split


@pytest.mark.parametrize("paused", [False, True])
def test_cancelling_a_run_ends_all_that_is_live(paused: bool) -> None:
    run = split(config={"run_timeout": 60})
    late = run.at("W1")
    run.reply("W2", ask_user("well?", timeout=9, default="so"))
    if paused:
        run.pause()
    run.cancel()
    assert run.state.status == "cancelled" and not run.asked and not run.open and run.state.error["type"] == "Cancelled"
    assert {row["status"] for row in run.rows("branch_rows")} == {"cancelled"}
    assert [row["status"] for row in run.rows("user_requests")] == ["cancelled"]
    assert not [row for row in run.rows("timers") if row["due_at"]]
    assert stopped(run.state, run.events[-1:]) == {"run_id": str(RUN)}
    run.late(late, response="late")
    assert "run is cancelled" in run.last("StepResultDiscarded").reason and run.replayed() == run.state


def waits_for_retry(run: Run) -> None:
    run.reply("W1", retry_later(60))


def waits_for_person(run: Run) -> None:
    run.reply("W1", ask_user("well?", timeout=60, default="so"))


def waits_for_fork(run: Run) -> None:
    run.reply("W1", parallel_invoke(["X", "Y"]))


def waits_for_decision(run: Run) -> None:
    run.reply("W1", parallel_invoke(["X"], convergence={"on_insufficient": "user"}))
    run.fail("X")


def parked(run: Run) -> None:
    run.reply("W1", invoke_agent("Y"))


def at_work(run: Run) -> None:
    assert run.at("W1")


@pytest.mark.parametrize(
    "state", [at_work, waits_for_retry, waits_for_person, waits_for_fork, waits_for_decision, parked]
)
def test_one_branch_is_cancelled_with_everything_inside(state: Callable[[Run], None]) -> None:
    run = split()
    state(run)
    run.cancel(W1)
    assert [s["agent"] for s in run.asked.values()] == ["W2"] and not run.open
    assert not run.state.tokens and not run.state.timers
    run.reply("W2", final_response("two"))
    records = [(r["status"], r.get("result")) for r in run.at("H")["request"]]
    assert records == [("cancelled", None), ("completed", "two")] and run.replayed() == run.state


def test_workers_are_told_of_all_the_branches_that_were_cancelled() -> None:
    run = split()
    waits_for_fork(run)
    run.cancel(W1)
    ended = stopped(run.state, run.events)
    assert ended is not None and ended["branch_ids"] == ["b0.f1.b0.f1.b0", W1]
    assert [event.token_id for event in run.of("ContributionCancelled")] == ["b0.f1.b0.f1.b1"]


def test_a_branch_that_waits_for_admission_is_cancelled() -> None:
    run = Run({**HUB, "rules": ["max_parallel_branches(1)"]})
    run.reply("H", parallel_invoke(["W1", "W2"]))
    run.cancel("b0.f1.b1")
    run.reply("W1", final_response("one"))
    assert [r["status"] for r in run.at("H")["request"]] == ["completed", "cancelled"]


def test_a_result_of_a_cancelled_branch_is_discarded_and_its_cost_is_seen() -> None:
    run = split()
    late = run.at("W1")
    run.cancel(W1)
    run.late(late, response="late", usage=Usage(input_tokens=3))
    discarded = run.last("StepResultDiscarded")
    assert discarded.branch_id == W1 and discarded.usage["input_tokens"] == 3 and run.at("W2")


def test_a_run_without_a_branch_left_is_cancelled() -> None:
    run = Run(CHAIN)
    run.cancel("b0")
    assert run.state.status == "cancelled" and run.replayed() == run.state


def test_a_branch_cancelled_in_a_pause_is_missed_when_the_run_goes_on() -> None:
    run = Run(CHAIN)
    run.pause()
    run.cancel("b0")
    assert run.state.shown_status == "paused" and not run.asked
    run.resume()
    assert run.state.status == "cancelled"
