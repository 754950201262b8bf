"""Semantics 3: content goes where the topology sends it, and nobody goes where no edge leads."""

from typing import Any

import pytest

from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import Run

JSON = Any
FAN = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"]}
ALL = {"nodes": [{"name": "A", "dispatch": "all"}, "B", "C"], "edges": ["A <-> B", "A <-> C"], "entry": "A"}
GUARDED = {
    "nodes": ["A", "B", "C"],
    "edges": ["A -> B", {"source": "A", "target": "C", "condition": "context.level > 2"}],
}


def owed(run: Run) -> list[tuple[str, JSON]]:
    """Agent and request of every owed step, in tree order."""
    return [(step["agent"], step["request"]) for _, step in sorted(run.asked.items())]


ANY_JSON = ["text", "", None, 0, 1.5, True, [], [1, {"a": None}], {}, {"agent": "B"}, {"content": {"next_action": "x"}}]


@pytest.mark.parametrize("value", ANY_JSON)
def test_content_is_any_json_and_the_request_of_the_one_successor(value: JSON) -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B"]})
    run.reply("A", value)
    assert owed(run) == [("B", value)] and run.last("StepCompleted").action == "content"
    assert run.replayed() == run.state


@pytest.mark.parametrize("value", ANY_JSON)
def test_content_of_an_agent_without_successor_is_final(value: JSON) -> None:
    run = Run({"nodes": ["A"]})
    run.reply("A", value)
    assert run.state.status == "completed" and run.result == value


def test_content_before_end_is_delivered() -> None:
    run = Run({"nodes": ["A"], "edges": ["A -> End"]})
    run.reply("A", "a")
    assert run.last("ResultDelivered").value == "a" and run.result == "a"


def test_a_person_is_sent_content_only_where_nobody_else_could_be() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B", "A <-> User"], "entry": "A"})
    run.reply("A", "a")
    assert owed(run) == [("B", "a")] and not run.open
    run = Run({"nodes": ["A"], "edges": ["A <-> User"], "entry": "A"})
    run.reply("A", "a")
    (request,) = run.open.values()
    assert request["prompt"] == "a" and not run.asked


def test_a_person_is_no_choice_where_several_agents_are() -> None:
    run = Run({**FAN, "edges": [*FAN["edges"], "A <-> User"], "entry": "A"})
    run.reply("A", "which?")
    steering = run.at("A")["steering"]
    assert "B, C" in steering and "User" not in steering and not run.open


@pytest.mark.parametrize("dispatch", [None, "choose"])
def test_content_that_several_could_take_is_steered_with_the_choices(dispatch: str | None) -> None:
    node = {"name": "A"} | ({"dispatch": dispatch} if dispatch else {})
    run = Run({**FAN, "nodes": [node, "B", "C"]})
    run.reply("A", "which?")
    step = run.at("A")
    assert "one of B, C" in step["steering"] and step["attempt"] == 2 and step["step_number"] == 1
    run.reply("A", build.invoke_agent("C", "this one"))
    assert owed(run) == [("C", "this one")] and run.replayed() == run.state


def test_dispatch_to_all_forks_and_content_after_it_is_final() -> None:
    run = Run(ALL)
    run.reply("A", "split")
    assert owed(run) == [("B", "split"), ("C", "split")]
    run.reply("B", "b")
    run.reply("C", "c")
    run.reply("A", "joined")
    assert run.result == "joined" and run.replayed() == run.state


def test_content_after_a_dispatch_goes_to_who_was_not_in_it() -> None:
    edges = ["A <-> B", "A <-> C", {"source": "A", "target": "D", "condition": "step.response == 'joined'"}]
    run = Run({**ALL, "nodes": [*ALL["nodes"], "D"], "edges": edges})
    run.reply("A", "split")
    run.reply("B", "b")
    run.reply("C", "c")
    run.reply("A", "joined")
    assert owed(run) == [("D", "joined")] and run.replayed() == run.state


def test_a_fork_that_the_agent_chose_is_no_dispatch() -> None:
    run = Run(ALL)
    run.reply("A", build.parallel_invoke(["B"]))
    run.reply("B", "b")
    run.reply("A", "now all")
    assert owed(run) == [("B", "now all"), ("C", "now all")]


def test_content_takes_only_edges_whose_condition_holds() -> None:
    run = Run(GUARDED, context={"level": 1})
    run.reply("A", "low")
    assert owed(run) == [("B", "low")]
    run = Run(GUARDED, context={"level": 3})
    run.reply("A", "high")
    assert "one of B, C" in run.at("A")["steering"]


@pytest.mark.parametrize("agent", ["nobody", "A", "C", "b", "Start", "End", "User"])
@pytest.mark.parametrize("action", [build.invoke_agent, lambda agent: build.parallel_invoke(["B", agent])])
def test_an_agent_invokes_only_along_an_edge(action: Any, agent: str) -> None:
    edges = ["Start -> A", "A -> B", "B -> C", "C -> End", "B <-> User"]
    run = Run({"nodes": ["A", "B", "C"], "edges": edges})
    run.reply("A", action(agent))
    steering = run.at("A")["steering"]
    assert f"A may not invoke {agent}. A may invoke: B." in steering and owed(run) == [("A", "task")]
    assert run.replayed() == run.state


def test_who_may_invoke_nobody_is_told_to_answer() -> None:
    run = Run({"nodes": ["A"]})
    run.reply("A", build.invoke_agent("B"))
    assert "nobody: answer with final content" in run.at("A")["steering"]


@pytest.mark.parametrize("action", [build.invoke_agent("C"), build.parallel_invoke(["B", "C"])])
def test_an_edge_whose_condition_does_not_hold_is_closed(action: JSON) -> None:
    run = Run(GUARDED, context={"level": 2})
    run.reply("A", action)
    steering = run.at("A")["steering"]
    assert "edge to C does not hold" in steering and "A may invoke: B." in steering
    run = Run(GUARDED, context={"level": 3})
    run.reply("A", action)
    assert "C" in dict(owed(run)) and run.replayed() == run.state


def test_a_condition_sees_what_the_reply_itself_puts_into_the_context() -> None:
    run = Run(GUARDED)
    run.reply("A", build.invoke_agent("C", "now", context_updates={"level": 3}))
    assert owed(run) == [("C", "now")]


def test_an_edge_condition_that_cannot_be_evaluated_does_not_hold() -> None:
    run = Run(GUARDED)
    run.reply("A", build.invoke_agent("C"))
    assert run.at("A")["attempt"] == 2 and run.state.status == "running"
