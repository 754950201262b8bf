"""What a call comes to whose agents do not answer it themselves: they meet, deliver, or are parked when time is up."""

from typing import Any

import pytest

from anabranch_contracts.reply_builders import final_response, invoke_agent
from tests.unit.domain.runs import Run
from tests.unit.domain.test_calls import call, record

JSON = Any
MEETING = {
    "nodes": ["A", "B", "C", "D", "Y"],
    "edges": ["A <-> B", "A <-> C", "A <-> D", "B -> Y", "C -> Y", "D -> Y", "B -> End"],
    "entry": "A",
}


def calling(*agents: str, **more: JSON) -> Run:
    run = Run(MEETING)
    run.reply("A", call(*agents, **more))
    return run


def came_of(run: Run) -> list[tuple[str, str, JSON]]:
    """Branch, status and result of each record that the caller gets."""
    (made,) = run.at("A")["calls"]
    assert run.replayed() == run.state
    return [(r["branch_id"], r["status"], r.get("result")) for r in made["value"]]


@pytest.mark.parametrize("order", ["BCD", "DCB", "CDB"])
def test_who_was_called_and_met_others_shares_what_came_of_it(order: str) -> None:
    run = calling("B", "C", "D")
    for agent in order:
        run.reply(agent, "alone" if agent == "C" else invoke_agent("Y", agent))
    assert [r["result"] for r in run.at("Y")["request"]] == ["B", "D"]
    run.reply("Y", "together")
    completed = [("b0.f1.b0", "together"), ("b0.f1.b1", "alone"), ("b0.f1.b2", "together")]
    assert came_of(run) == [(branch_id, "completed", result) for branch_id, result in completed]


def test_who_went_away_shares_nothing_with_those_who_met() -> None:
    run = calling("B", "C", "D")
    run.reply("B", invoke_agent("End", "for the run"))
    for agent in "CD":
        run.reply(agent, invoke_agent("Y", agent))
    run.reply("Y", "together")
    assert came_of(run) == [
        ("b0.f1.b0", "merged", None),
        ("b0.f1.b1", "completed", "together"),
        ("b0.f1.b2", "completed", "together"),
    ]


def test_and_shares_the_failure_too() -> None:
    run = calling("B", "C")
    for agent in "BC":
        run.reply(agent, invoke_agent("Y", agent))
    run.fail("Y")
    run.tend()
    assert came_of(run) == [("b0.f1.b0", "failed", None), ("b0.f1.b1", "failed", None)]


def test_who_met_nobody_went_there_itself() -> None:
    run = calling("B", "C")
    run.reply("B", invoke_agent("Y", "b"))
    run.reply("C", "c")
    run.reply("Y", "after B")
    assert run.at("A")["calls"][0]["value"] == [record("Y", "b0.f1.b0", "after B"), record("C", "b0.f1.b1", "c")]


def test_who_delivered_to_the_run_is_merged_for_its_caller() -> None:
    run = calling("B", "C", "B")
    run.reply("B", invoke_agent("End", "first"), "b0.f1.b0#1")
    run.reply("C", "c")
    run.reply("B", invoke_agent("End", "last"), "b0.f1.b2#1")
    merged = [("b0.f1.b0", "merged", None), ("b0.f1.b1", "completed", "c"), ("b0.f1.b2", "merged", None)]
    assert came_of(run) == merged
    run.reply("A", final_response("mine"))
    assert [r["result"] for r in run.result] == ["mine", "first", "last"]


def test_a_call_of_somebody_who_only_delivers_comes_back() -> None:
    run = calling("B")
    run.reply("B", invoke_agent("End", "all"))
    assert came_of(run) == [("b0.f1.b0", "merged", None)]


def test_when_a_calls_time_is_over_what_is_parked_inside_is_ended_too() -> None:
    run = calling("B", "C", "D", timeout=30)
    run.reply("B", invoke_agent("Y", "b"))
    run.reply("D", "d")
    run.wait(30)
    statuses = [("b0.f1.b0", "cancelled", None), ("b0.f1.b1", "failed", None), ("b0.f1.b2", "completed", "d")]
    assert came_of(run) == statuses and list(run.asked) == ["b0#1"] and not run.of("BranchConverged")
