"""Semantics 3 and 10: an edge with a condition is one only where that holds."""

from typing import Any

import pytest

from anabranch_contracts.reply_builders import invoke_agent, parallel_invoke
from tests.unit.domain.runs import Run
from tests.unit.domain.test_conditions import NESTED

JSON = Any


def edges(condition: str, **more: JSON) -> Run:
    """A may go to B, and to C where the condition holds."""
    to_c = {"source": "A", "target": "C", "condition": condition}
    return Run({"nodes": [{"name": "A", **more}, "B", "C"], "edges": ["A -> B", to_c]})


@pytest.mark.parametrize(("said", "open"), [("c", True), ("b", False)])
def test_an_edge_is_open_where_its_condition_holds_of_what_was_said(said: str, open: bool) -> None:
    run = edges("step.response == 'c' && step.number == 1 && step.agent == 'A'")
    run.reply("A", invoke_agent("C", said))
    assert [s["agent"] for s in run.asked.values()] == ["C" if open else "A"]
    assert open or "The condition of the edge to C does not hold now" in run.at("A")["steering"]


def test_content_goes_where_the_edges_are_open() -> None:
    run = edges("step.response.go")
    run.reply("A", {"go": False})
    assert run.at("B")
    run = edges("step.response.go", dispatch="all")
    run.reply("A", {"go": True})
    assert sorted(s["agent"] for s in run.asked.values()) == ["B", "C"]


def test_a_fork_goes_nowhere_where_one_edge_is_closed() -> None:
    run = edges("context.k == 1")
    run.reply("A", parallel_invoke(["B", "C"]))
    assert "edge to C" in run.at("A")["steering"] and not run.of("ForkOpened")
    run.reply("A", {**parallel_invoke(["B", "C"]), "context_updates": {"k": 1}})
    assert sorted(s["agent"] for s in run.asked.values()) == ["B", "C"]


def test_content_is_final_where_no_edge_is_open() -> None:
    run = Run({"nodes": ["A", "B"], "edges": [{"source": "A", "target": "B", "condition": "false"}]})
    run.reply("A", "done")
    assert run.result == "done"


@pytest.mark.parametrize("condition", ["run.", NESTED, "python:f:0", "x" * 4001])
def test_a_condition_of_an_edge_is_guarded_too(condition: str) -> None:
    run = edges(condition)
    assert run.state.status == "rejected" and "condition" in run.state.error["message"]


@pytest.mark.parametrize(("source", "target"), [("User", "B"), ("Start", "A")])
def test_where_no_agent_hands_over_a_condition_is_refused_for_it_would_never_be_asked(source: str, target: str) -> None:
    ways = [("Start", "A"), ("A", "User"), ("User", "B")]
    written = [{"source": a, "target": b, "condition": "true" if a == source else None} for a, b in ways]
    run = Run({"nodes": ["A", "B"], "edges": written})
    assert run.state.status == "rejected"
    assert f"edge {source} -> {target}: its condition would never be asked" in run.state.error["message"]


@pytest.mark.parametrize(("condition", "asked"), [("true", True), ("false", False)])
def test_in_a_conversation_with_a_person_the_agents_half_is_asked(condition: str, asked: bool) -> None:
    edge = {"source": "A", "target": "User", "bidirectional": True, "condition": condition}
    run = Run({"nodes": ["A"], "edges": [edge]})
    run.reply("A", invoke_agent("User", "well?"))
    assert bool(run.open) == asked
    assert asked or "The condition of the edge to User does not hold now" in run.at("A")["steering"]
