"""Semantics 7: retries, rate limits, and what a failure comes to."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from anabranch.domain.retry import delay, jitter
from tests.unit.domain.runs import Run

ONE = {"nodes": ["A"], "edges": []}


def test_a_transient_failure_is_tried_again_when_its_time_has_come() -> None:
    run = Run(ONE, config={"retry": {"base_delay": 10.0}})
    run.fail("A", "transient")
    assert not run.asked and run.state.timers
    run.wait(10)
    assert run.at("A")["attempt"] == 2 and run.state.total_steps == 1


def test_attempts_are_bounded() -> None:
    run = Run(ONE, config={"retry": {"max_attempts": 2, "base_delay": 0.0}})
    run.fail("A", "transient")
    run.tend()
    run.fail("A", "transient")
    assert run.state.status == "failed" and "attempt 2" in run.state.error["causes"][0]["message"]


def test_types_that_are_not_retryable_fail_at_once() -> None:
    run = Run(ONE, config={"retry": {"non_retryable": ["Broken"]}})
    run.fail("A", "transient")
    assert run.state.status == "failed"


def test_a_rate_limit_waits_as_long_as_it_was_told_and_is_no_failure() -> None:
    run = Run(ONE, config={"retry": {"max_attempts": 1}})
    run.fail("A", "rate_limit", retry_after=5)
    run.wait(4.9)
    assert not run.asked
    run.wait(0.2)
    assert run.at("A")["attempt"] == 2


def test_a_rate_limit_does_not_last_for_ever() -> None:
    run = Run(ONE, config={"max_rate_limit_wait": 8})
    run.fail("A", "rate_limit", retry_after=9)
    run.wait(9)
    run.fail("A", "rate_limit", retry_after=9)
    assert run.state.status == "failed"


def test_jitter_is_drawn_from_the_identity_of_the_step() -> None:
    assert jitter("b0#1", 1) == jitter("b0#1", 1) != jitter("b0#1", 2)
    policy = {"base_delay": 1.0, "max_delay": 60.0}
    assert all(0 <= delay(policy, f"s{i}", n) < min(60, 2 ** (n - 1)) for i in range(50) for n in range(1, 9))


def test_retries_of_many_siblings_come_due_in_their_order() -> None:
    topology = {"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"}
    run = Run(topology, config={"convergence": {"min_ratio": 0}})
    run.reply("A", {"next_action": "parallel_invoke", "invocations": [{"agent": "B", "request": i} for i in range(20)]})
    for i in range(20):
        run.fail("B", "rate_limit", step_id=f"b0.f1.b{i}#1", retry_after=20 - i)
    assert not run.asked and len(run.state.alarms) == 20
    run.wait(5)
    assert sorted(run.asked) == sorted(f"b0.f1.b{i}#1" for i in range(15, 20))
    run.wait(30)
    assert len(run.asked) == 20 and run.state.alarms == [] and run.replayed() == run.state


def test_by_default_a_step_has_three_attempts_which_are_one_step() -> None:
    run = Run(ONE)
    for attempt in (1, 2, 3):
        assert run.at("A")["attempt"] == attempt and run.at("A")["step_id"] == "b0#1"
        run.fail("A", "transient")
        run.wait(60)
    assert run.state.status == "failed" and run.state.total_steps == 1 and len(run.of("StepFailed")) == 3
    assert run.replayed() == run.state


def test_the_delay_grows_exponentially_and_is_drawn_from_the_identity_of_the_attempt() -> None:
    policy = {"max_attempts": 12, "base_delay": 2.0, "max_delay": 100.0}
    run = Run(ONE, config={"retry": policy})
    for failure in range(1, 12):
        run.fail("A", "transient")
        expected = min(100.0, 2.0 * 2 ** (failure - 1)) * jitter("b0#1", failure)
        due = datetime.fromisoformat(run.last("StepRetryScheduled").due_at)
        assert abs((due - run.now).total_seconds() - expected) < 1e-5
        run.now = due - timedelta(microseconds=1)
        run.tend()
        assert not run.asked, "not before its time"
        run.wait(1e-6)
        assert run.at("A")["attempt"] == failure + 1
    assert run.replayed() == run.state


def test_jitter_spreads_siblings_over_the_whole_delay() -> None:
    drawn = [jitter(f"b0.f1.b{i}#1", 1) for i in range(1000)]
    assert len(set(drawn)) == 1000 and all(0 <= d < 1 for d in drawn)
    assert [sum(d < q / 4 for d in drawn) for q in (1, 2, 3)] == pytest.approx([250, 500, 750], abs=50)


def test_another_type_than_those_named_is_retried() -> None:
    run = Run(ONE, config={"retry": {"non_retryable": ["ValueError", "broken"], "base_delay": 0}})
    run.fail("A", "transient")
    assert run.at("A")["attempt"] == 2


def test_rate_limits_are_no_failures_whatever_their_number() -> None:
    run = Run(ONE, config={"retry": {"max_attempts": 2, "base_delay": 0}, "max_rate_limit_wait": 100})
    for _ in range(10):
        run.fail("A", "rate_limit", retry_after=1)
        run.wait(1)
    run.fail("A", "transient")
    assert run.at("A")["attempt"] == 12 and run.state.total_steps == 1
    run.fail("A", "transient")
    assert run.state.status == "failed" and run.replayed() == run.state


def test_a_rate_limit_that_names_no_time_backs_off() -> None:
    run = Run(ONE, config={"retry": {"base_delay": 8.0}})
    waits = []
    for attempt in (1, 2, 3):
        run.fail("A", "rate_limit")
        due = datetime.fromisoformat(run.last("StepRetryScheduled").due_at)
        waits.append((due - run.now).total_seconds())
        run.wait(waits[-1])
        assert run.at("A")["attempt"] == attempt + 1
    policy = {"base_delay": 8.0, "max_delay": 60.0}
    assert waits == pytest.approx([delay(policy, "b0#1", n) for n in (1, 2, 3)], abs=1e-5)


ANSWERED: dict[str, Any] = {
    "wrongly": {"next_action": "dance"},
    "later": {"next_action": "retry_later", "after_seconds": 0},
    "with a call": {"next_action": "call", "number": 1, "print": "p", "invocations": [{"agent": "B"}]},
}


@pytest.mark.parametrize("how", ANSWERED)
def test_the_wait_for_a_rate_limit_begins_anew_once_the_agent_has_answered(how: str) -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"}, config={"max_rate_limit_wait": 5})
    run.fail("A", "rate_limit", retry_after=4)
    run.wait(4)
    run.reply("A", ANSWERED[how])
    run.wait(100)
    if how == "with a call":
        run.reply("B", "b")
    run.fail("A", "rate_limit", retry_after=4)
    run.wait(4)
    assert run.at("A")["attempt"] == 4
    run.wait(1)
    run.fail("A", "rate_limit", retry_after=4)
    assert run.state.status == "failed" and run.replayed() == run.state


def through_a_pause(run: Run) -> Run:
    run.pause()
    run.wait(100)
    run.resume()
    return run


def into_a_fork(run: Run) -> Run:
    run.wait(100)
    return run.fork(4)  # where the limit was first met


def past_another_failure(run: Run) -> Run:
    run.wait(4)
    run.fail("A", "transient")
    run.wait(100)
    return run


@pytest.mark.parametrize("somehow", [through_a_pause, into_a_fork, past_another_failure])
def test_the_wait_for_a_rate_limit_counts_no_time_in_which_it_was_not_met(somehow: Callable[[Run], Run]) -> None:
    run = Run(ONE, config={"max_rate_limit_wait": 5, "retry": {"base_delay": 0}})
    run.fail("A", "rate_limit", retry_after=4)
    run = somehow(run)
    run.tend()
    run.fail("A", "rate_limit", retry_after=4)
    assert run.state.status == "running" and not run.asked
    run.wait(4)
    run.fail("A", "rate_limit", retry_after=4)
    run.wait(4)
    run.fail("A", "rate_limit", retry_after=4)
    assert run.state.status == "failed" and run.replayed() == run.state


def test_one_branch_retries_while_another_goes_on() -> None:
    run = Run({"nodes": ["A", "B"], "edges": [], "entry": ["A", "B"]}, config={"retry": {"base_delay": 10.0}})
    run.fail("A", "transient")
    run.reply("B", "b")
    assert run.state.status == "running" and not run.asked
    run.wait(10)
    run.reply("A", "a")
    assert [r["result"] for r in run.result] == ["a", "b"] and run.replayed() == run.state


def test_a_rate_limit_that_says_now_still_pauses() -> None:
    run = Run(ONE)
    run.fail("A", "rate_limit", retry_after=0)
    assert not run.asked
    run.wait(1)
    assert run.at("A")["attempt"] == 2


def test_each_call_of_an_agent_has_all_its_attempts() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"}, config={"retry": {"base_delay": 0}})
    for number in (1, 2):
        for _ in range(2):
            run.fail("A", "transient")
            run.tend()
        invocations = [{"agent": "B", "request": number}]
        run.reply("A", {"next_action": "call", "number": number, "print": "p", "invocations": invocations})
        run.reply("B", "well")
    assert run.at("A")["attempt"] == 7 and run.state.status == "running"
