"""Semantics 10: clocks stand still while only people are waited for, or the run is paused; other timers do not."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from anabranch.domain.clocks import SLACK, due_timer, set_timer
from anabranch.domain.state import RunState
from anabranch_contracts.reply_builders import ask_user, parallel_invoke, retry_later
from tests.unit.domain.runs import RUN, Run

JSON = Any
HUB = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "H <-> X"], "entry": "H"}
LONG = 1_000_000


def timed(where: str) -> Run:
    """The hub waits for two workers, ten seconds are left: of the run's time, a rule's, or the fork's."""
    rules = ["timeout(10)"] if where == "rule" else []
    config = {"run_timeout": 10} if where == "run" else {"convergence": {"timeout": 10}} if where == "fork" else {}
    run = Run({**HUB, "rules": rules}, config=config)
    run.reply("H", parallel_invoke(["W", "X"]))
    return run


def over(run: Run) -> bool:
    return run.state.status == "failed"


EACH = pytest.mark.parametrize("where", ["run", "rule", "fork"])


@EACH
def test_the_time_in_which_only_people_are_waited_for_does_not_count(where: str) -> None:
    run = timed(where)
    run.wait(4)
    run.reply("W", ask_user("w?"))
    run.reply("X", ask_user("x?"))
    run.wait(LONG)
    assert run.state.shown_status == "waiting" and not run.state.timers
    run.answer("w", next(iter(run.open)))
    run.wait(5.9)
    assert not over(run)
    run.wait(0.1)
    assert over(run) and run.replayed() == run.state


@EACH
def test_the_time_in_which_somebody_works_beside_them_does(where: str) -> None:
    run = timed(where)
    run.reply("W", ask_user("w?"))
    run.wait(10)
    assert over(run) and not run.open


@EACH
def test_the_time_of_a_pause_does_not_count(where: str) -> None:
    run = timed(where)
    run.wait(4)
    for _ in range(3):
        run.pause()
        run.wait(LONG)
        run.resume()
    run.wait(5.9)
    assert not over(run)
    run.wait(0.1)
    assert over(run) and run.replayed() == run.state


@EACH
def test_waiting_for_a_retry_does_count(where: str) -> None:
    run = timed(where)
    run.reply("W", retry_later(60))
    run.reply("X", ask_user("x?"))
    run.wait(10)
    assert over(run)


@EACH
def test_an_answer_in_a_pause_does_not_start_the_clock(where: str) -> None:
    run = timed(where)
    run.reply("W", ask_user("w?"))
    run.reply("X", ask_user("x?"))
    run.pause()
    for request_id in list(run.open):
        run.answer("so", request_id)
    run.wait(LONG)
    run.resume()
    assert len(run.asked) == 2 and run.state.timers and run.replayed() == run.state


def ask_inside(run: Run) -> None:
    run.reply("W", ask_user("w?"), "b0.f1.b0.f1.b0#1")


def decide_inside(run: Run) -> None:
    run.fail("W", step_id="b0.f1.b0.f1.b0#1")


@pytest.mark.parametrize("wait", [ask_inside, decide_inside])
def test_a_fork_knows_of_the_people_waited_for_in_forks_inside_it(wait: Callable[[Run], None]) -> None:
    topology = {"nodes": ["H", "X", "W"], "edges": ["H <-> X", "X <-> W"], "entry": "H"}
    run = Run(topology)
    run.reply("H", parallel_invoke(["X"], convergence={"timeout": 10}))
    run.reply("X", parallel_invoke(["W"], convergence={"on_insufficient": "user"}))
    wait(run)
    run.wait(LONG)
    assert run.state.shown_status == "waiting"
    run.answer("retry" if wait is decide_inside else "so")
    run.wait(10)
    assert over(run)


def test_a_clock_that_nobody_outside_stops_goes_on_for_its_own_fork() -> None:
    topology = {**HUB, "nodes": [*HUB["nodes"], "V"], "edges": [*HUB["edges"], "W <-> V"]}
    run = Run(topology)
    run.reply("H", parallel_invoke(["W", "X"], convergence={"on_insufficient": "proceed"}))
    run.reply("W", parallel_invoke(["V"], convergence={"timeout": 10}))
    run.reply("V", ask_user("v?"))
    run.wait(LONG)
    assert run.open, "only its own fork is waited for by people; that X works elsewhere does not wind the clock"
    run.answer("so")
    run.wait(10)
    assert list(run.asked) == ["b0.f1.b1#1"]


def test_a_decided_fork_has_no_clock() -> None:
    run = timed("fork")
    run.reply("W", "w")
    run.reply("X", "x")
    run.wait(LONG)
    assert run.at("H") and not run.state.timers


def test_the_timeout_of_a_question_is_the_persons_and_goes_on() -> None:
    run = Run({"nodes": ["A"]}, config={"run_timeout": 10})
    run.reply("A", ask_user("well?", timeout=60, default="so"))
    run.wait(60)
    assert run.at("A")["request"] == "so"


def test_nobody_is_woken_in_a_pause() -> None:
    run = timed("run")
    run.reply("W", retry_later(5))
    assert all(row["due_at"] for row in run.rows("timers")) and len(run.rows("timers")) == 2
    run.pause()
    assert not any(row["due_at"] for row in run.rows("timers"))
    run.resume()
    assert len([row for row in run.rows("timers") if row["due_at"]]) == 2


def test_the_clocks_of_a_forked_run_start_anew() -> None:
    run = timed("run")
    run.wait(9)
    other = run.fork(run.state.version)
    other.wait(9)
    assert not over(other)
    other.wait(1)
    assert over(other) and other.replayed() == other.state


@pytest.mark.parametrize("forks", [1, 2, 3])
def test_people_have_as_long_to_answer_in_a_forked_run(forks: int) -> None:
    run = Run({"nodes": ["A"]})
    run.reply("A", ask_user("well?", timeout=60, default="so"))
    for _ in range(forks):
        run.wait(50)
        run = run.fork(run.state.version)
    run.wait(59)
    assert run.open
    run.wait(1)
    assert run.at("A")["request"] == "so" and run.replayed() == run.state


@pytest.mark.parametrize("seconds", [1e12, 1e300])
def test_no_time_is_too_long_for_the_calendar(seconds: float) -> None:
    run = Run({**HUB, "rules": [f"timeout({seconds})"]}, config={"convergence": {"timeout": seconds}})
    run.reply("H", parallel_invoke(["W", "X"]))
    assert len(run.asked) == 2 and run.replayed() == run.state


@pytest.mark.parametrize("seconds", ["inf", "nan", 0, -1])
def test_a_time_is_a_number_of_seconds(seconds: JSON) -> None:
    assert Run(HUB, config={"run_timeout": seconds}).state.status == "rejected"
    assert Run({**HUB, "rules": [f"timeout({seconds})"]}).state.status == "rejected"


def test_a_fork_amid_the_decision_that_asks_leaves_the_person_all_the_time() -> None:
    run = Run({"nodes": ["A"], "edges": []})
    run.reply("A", ask_user("well?", timeout=60, default="so so"))
    asking = next(one.version for one in run.events if type(one.event).__name__ == "UserInputRequested")
    run.now += timedelta(days=1)
    forked = run.fork(asking - 1)
    forked.wait(59)
    assert forked.open
    forked.wait(2)
    assert forked.at("A")["request"] == "so so"


def test_a_new_run_counts_the_time_of_its_forks_anew() -> None:
    run = Run({"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"}, config={"convergence": {"timeout": 10}})
    run.reply("H", parallel_invoke(["W"]))
    run.wait(9)
    forked = run.fork(len(run.events))
    assert forked.state.timers == {"fork/b0.f1": "2026-01-01T00:00:19+00:00"}
    forked.wait(9.9)
    assert forked.at("W")
    forked.wait(0.1)
    assert forked.state.status == "failed" and forked.replayed() == forked.state


def test_timers_set_again_and_again_take_no_more_room_than_those_that_hold() -> None:
    state = RunState(RUN)
    set_timer(state, "first", "2026-01-01T00:00:00+00:00")
    for i in range(10 * SLACK):
        set_timer(state, "again", f"2026-01-02T00:00:00.{i:06}+00:00")
    assert len(state.timers) == 2 and len(state.alarms) <= 2 * len(state.timers) + SLACK
    del state.timers["first"]
    set_timer(state, "other", "2026-01-01T12:00:00+00:00")
    assert due_timer(state, Run({"nodes": ["A"]}).now.replace(day=2)) == "other"


def test_a_question_asked_in_a_pause_wakes_nobody_before_it_is_over() -> None:
    run = Run({"nodes": ["A"]})
    run.pause()
    run.reply("A", ask_user("well?", timeout=5, default="late"))
    (timer,) = run.rows("timers")
    assert timer["due_at"] is None and run.state.timers
    run.wait(9)
    assert run.open
    run.resume()
    run.tend()
    assert run.at("A")["request"] == "late"


def test_time_that_was_over_before_a_pause_is_over_after_it() -> None:
    run = timed("fork")
    run.now += timedelta(seconds=12)
    run.pause()
    assert not over(run)
    run.resume()
    assert over(run)
