"""Semantics 10: what becomes of a fork, and of a run, whose time is over."""

from collections.abc import Callable
from typing import Any

import pytest

from anabranch_contracts.reply_builders import invoke_agent, parallel_invoke
from tests.unit.domain.runs import Run
from tests.unit.domain.test_policies import TWO, reply, split, statuses, worker

JSON = Any


def timed_out(**policy: JSON) -> Run:
    """One worker has arrived, one waits for a child of its own, and the time is over."""
    run = split(2, timeout=10, **policy)
    reply(run, 0)
    run.reply("W", parallel_invoke(["X"], convergence={"timeout": None}), worker(1))
    run.wait(9.9)
    assert list(run.asked) == ["b0.f1.b1.f1.b0#1"]
    run.wait(0.1)
    return run


def test_a_fork_that_times_out_fails() -> None:
    run = timed_out()
    cause = run.state.error["causes"][0]
    assert run.state.status == "failed" and (cause["kind"], cause["type"]) == ("timeout", "ConvergenceTimeout")


def test_or_goes_on_with_what_there_is() -> None:
    run = timed_out(on_timeout="proceed")
    first, second = run.at("H")["request"]
    assert (first["status"], second["status"], second["error"]["kind"]) == ("completed", "failed", "timeout")
    assert len(run.asked) == 1 and run.replayed() == run.state


def test_or_a_person_decides_who_knows_what_was_lost() -> None:
    run = timed_out(on_timeout="user")
    (asked,) = run.open.values()
    assert "1 of 2 failed: not there after 10 s" in asked["prompt"]["what"]
    assert [c["branch_id"] for c in asked["prompt"]["causes"]] == ["b0.f1.b1"] and not run.asked


DECIDED: list[tuple[str, Callable[[Run], bool]]] = [
    ("skip", lambda run: statuses(run) == ["completed", "failed"]),
    ("abort", lambda run: run.state.status == "failed"),
    ("retry", lambda run: list(run.asked) == ["b0.f1.b1r#1"]),
]


@pytest.mark.parametrize(("decision", "so"), DECIDED)
def test_and_the_person_is_obeyed(decision: str, so: Callable[[Run], bool]) -> None:
    run = timed_out(on_timeout="user")
    run.answer(decision)
    assert so(run) and run.replayed() == run.state


def test_who_is_tried_again_has_the_same_time_again() -> None:
    run = timed_out(on_timeout="user")
    run.wait(100)
    run.answer("retry")
    run.wait(9.9)
    assert run.asked and not run.open
    run.wait(0.1)
    assert run.open and not run.asked


def test_a_result_after_the_time_is_discarded() -> None:
    run = split(2, timeout=10, on_timeout="proceed")
    late = run.asked[worker(0)]
    run.wait(10)
    run.late(late, response="late")
    assert run.last("StepResultDiscarded").step_id == worker(0) and statuses(run) == ["failed", "failed"]


@pytest.mark.parametrize(("policy", "status"), [({}, "failed"), ({"on_timeout": "proceed"}, "completed")])
def test_the_entries_have_a_time_too(policy: JSON, status: str) -> None:
    run = Run(TWO, config={"convergence": {"timeout": 10, **policy}})
    run.reply("A", "a")
    run.wait(10)
    assert run.state.status == status and run.state.result == ("a" if policy else None)


def test_one_entry_alone_waits_for_nobody() -> None:
    run = Run({"nodes": ["A"]}, config={"convergence": {"timeout": 10}})
    run.wait(11)
    assert run.at("A")


RUN_TIMES = [({"run_timeout": 10}, []), ({}, ["timeout(10)"]), ({"run_timeout": 99}, ["timeout(10)", "timeout(50)"])]


@pytest.mark.parametrize(("config", "rules"), RUN_TIMES)
def test_a_run_ends_when_the_shortest_of_its_times_is_over(config: JSON, rules: list[str]) -> None:
    run = Run({"nodes": ["A"], "rules": rules}, config=config)
    run.wait(9.9)
    assert run.at("A")
    run.wait(0.1)
    assert run.state.status == "failed" and run.state.error["type"] == "TimeoutRule" and not run.asked
    applied = run.last("RuleApplied")
    assert applied.rule == (0 if rules else -1), "where it stands in the topology, or a bound of the run's config"
    assert (applied.type, applied.action) == ("TimeoutRule", "terminate") and "longer than 10 s" in applied.reason
    assert run.replayed() == run.state


def test_a_run_has_as_much_time_as_it_takes_by_default() -> None:
    run = Run({"nodes": ["A"]})
    run.wait(10_000_000)
    assert run.at("A") and not run.state.timers


def test_where_nothing_can_be_tried_again_the_fork_goes_on_with_what_there_is() -> None:
    """Its only child has met others at a node that still waits for somebody outside."""
    topology = {
        "nodes": ["S", "H", "O", "W", {"name": "Y", "is_convergence_point": True}],
        "edges": ["S -> H", "S -> O", "H <-> W", "W -> Y", "O -> Y"],
    }
    run = Run(topology, config={"convergence": {"on_insufficient": "proceed"}})
    run.reply("S", parallel_invoke(["H", "O"]))
    run.reply("H", parallel_invoke(["W"], convergence={"timeout": 5, "on_timeout": "user"}))
    run.reply("W", invoke_agent("Y", "w"))
    run.wait(6)
    (asked,) = run.open.values()
    run.cancel("b0.f1.b0.f1.b0")
    run.answer("retry", asked["request_id"])
    run.tend()
    assert run.at("H")["request"][0]["status"] == "cancelled" and run.replayed() == run.state
