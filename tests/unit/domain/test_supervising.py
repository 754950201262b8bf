"""Semantics 7: retries, rate limits, and what a failure comes to."""

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
