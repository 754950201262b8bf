"""Semantics 6: what an agent remembers, and the context that reaches every step."""

from typing import Any

import pytest

from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import RUN, Run

JSON = Any
TALK = {"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"}
HUB = {"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"}
CALL = {"next_action": "call", "number": 1, "print": "p", "invocations": [{"agent": "W", "request": "called"}]}


def talk(run: Run, turns: int) -> Run:
    """A and B say numbers to each other; A is asked at the end."""
    for i in range(turns):
        run.reply("A", f"a{i}")
        run.reply("B", f"b{i}")
    return run


def contents(step: JSON) -> list[JSON]:
    return [message["content"] for message in step["memory"]]


def test_an_agent_remembers_what_it_was_asked_and_said_without_the_request_in_hand() -> None:
    run = talk(Run(TALK), 2)
    step = run.at("A")
    assert step["request"] == "b1"
    assert step["memory"] == [
        {"role": "user", "content": "task"},
        {"role": "assistant", "content": "a0", "name": "A"},
        {"role": "user", "content": "b0"},
        {"role": "assistant", "content": "a1", "name": "A"},
    ]
    assert run.replayed() == run.state


def test_a_whole_action_is_remembered_as_it_was_said() -> None:
    run = Run(TALK)
    run.reply("A", build.invoke_agent("B", "x"))
    run.reply("B", "b")
    assert run.at("A")["memory"][1]["content"] == build.invoke_agent("B", "x")


WINDOWS = [
    ({}, None, [], 100),
    ({"max_messages": 4}, None, [], 4),
    ({"max_messages": 3}, None, [], 3),
    ({"max_messages": 0}, None, [], 0),
    ({}, None, ["max_messages(6)"], 6),
    ({"max_messages": 4}, None, [{"type": "MemoryLimitRule", "max_messages": 6}], 4),
    ({}, None, ["memory_limit(6)", "max_messages(8)"], 6),
    ({}, {"max_messages": 8}, [], 8),
    ({}, {"max_messages": 8}, ["max_messages(6)"], 6),
    ({}, {"max_messages": 1000}, [], 100),
    ({}, {"retention": "last_n", "max_messages": 8}, [], 8),
    ({}, {"retention": "single_step"}, [], 2),
    ({"max_messages": 1}, {"retention": "single_step"}, [], 1),
    ({}, {"retention": "none"}, [], 0),
    ({}, {"retention": "none", "max_messages": 8}, [], 0),
]


@pytest.mark.parametrize(("config", "memory", "rules", "kept"), WINDOWS)
def test_the_narrowest_bound_is_the_window(config: JSON, memory: JSON, rules: JSON, kept: int) -> None:
    node = {"name": "A", **({"memory": memory} if memory else {})}
    run = talk(Run({**TALK, "nodes": [node, "B"], "rules": rules}, config=config), 60)
    said = ["task", *[s for i in range(60) for s in (f"a{i}", f"b{i}")]][:120]
    assert contents(run.at("A")) == said[len(said) - kept :] and run.replayed() == run.state


def test_retention_is_of_one_agent() -> None:
    run = talk(Run({**TALK, "nodes": [{"name": "A", "memory": {"retention": "none"}}, "B"]}), 2)
    run.reply("A", "a2")
    assert contents(run.at("B")) == ["a0", "b0", "a1", "b1"] and "A" not in run.state.branches["b0"].memory


@pytest.mark.parametrize("memory", [{"retention": "all"}, {"max_messages": -1}, {"max_messages": "5"}, {"keep": 1}])
def test_a_retention_that_is_none_is_refused_before_anything_runs(memory: JSON) -> None:
    run = Run({"nodes": [{"name": "A", "memory": memory}]})
    assert run.state.status == "rejected" and "memory" in run.state.error["message"]


def test_what_was_not_accepted_is_not_remembered() -> None:
    run = Run({**TALK, "edges": ["A <-> B", "A <-> User"]}, config={"retry": {"base_delay": 0}})
    run.reply("A", {"next_action": "dance"})
    run.fail("A", "transient")
    run.tend()
    run.reply("A", build.retry_later(0))
    run.tend()
    assert run.at("A")["memory"] == []
    run.fail("A", "recoverable")
    run.answer("skip")
    assert run.at("B")["request"] is None
    run.reply("B", "b")
    assert run.at("A")["memory"] == []


@pytest.mark.parametrize(
    ("config", "said", "inherited"),
    [
        ({}, None, False),
        ({"inherit_memory": True}, None, True),
        ({}, True, True),
        ({"inherit_memory": True}, False, False),
    ],
)
def test_children_start_with_empty_memory_unless_it_is_inherited(config: JSON, said: JSON, inherited: bool) -> None:
    run = Run(HUB, config=config)
    run.reply("H", "x")
    run.reply("W", "y")
    run.reply("H", build.parallel_invoke(["W", "W"], inherit_memory=said))
    assert [contents(s) for s in run.asked.values()] == [["x", "y"] if inherited else []] * 2
    first, second = run.asked
    run.reply("W", "w1", first)
    assert contents(run.asked[second]) == (["x", "y"] if inherited else []), "each child has its own list"
    run.reply("W", "w2", second)
    assert contents(run.at("H"))[2:] == ["y", {**build.parallel_invoke(["W", "W"]), "inherit_memory": said}]
    assert run.replayed() == run.state


@pytest.mark.parametrize("inherit", [False, True])
def test_a_called_agent_starts_with_the_memory_that_children_start_with(inherit: bool) -> None:
    run = Run(HUB, config={"inherit_memory": inherit})
    run.reply("H", "x")
    run.reply("W", "y")
    run.reply("H", CALL)
    assert contents(run.at("W")) == (["x", "y"] if inherit else []) and run.replayed() == run.state


def test_what_children_say_is_in_no_memory_of_the_parent() -> None:
    run = Run(HUB)
    run.reply("H", build.parallel_invoke(["W"]))
    run.reply("W", "child")
    assert run.state.branches["b0"].memory.keys() == {"H"}


def test_context_reaches_every_step_with_the_place_of_the_step() -> None:
    context = {"session_id": "s", "user_data": {"n": 1}, "metadata": {}, "list": [None], "step_number": "mine"}
    run = Run(HUB, context=context)
    run.reply("H", build.parallel_invoke(["W"]))
    place = {"run_id": str(RUN), "branch_id": "b0.f1.b0", "step_number": 1}
    assert run.at("W")["context"] == {**context, **place}
    run.reply("W", "w")
    assert run.at("H")["context"] == {**context, "run_id": str(RUN), "branch_id": "b0", "step_number": 2}


def test_context_updates_are_merged_and_the_last_one_counts() -> None:
    run = Run(TALK, context={"k": 0, "kept": True})
    run.reply("A", build.invoke_agent("B", context_updates={"k": 1, "new": []}))
    run.reply("B", build.invoke_agent("A", context_updates={"k": None}))
    said = run.at("A")["context"]
    assert (said["k"], said["new"], said["kept"]) == (None, [], True) and run.replayed() == run.state


def test_a_rejected_reply_updates_nothing() -> None:
    run = Run(TALK)
    run.reply("A", build.invoke_agent("C", context_updates={"k": 1}))
    assert "k" not in run.at("A")["context"]


@pytest.mark.parametrize("action", [build.invoke_agent("B"), build.final_response(1), build.retry_later(0)])
def test_a_context_that_every_step_would_carry_does_not_grow_without_end(action: JSON) -> None:
    run = Run(TALK, context={"k": "run"})
    half = "x" * 128 * 1024
    rest = half[len('{"one":"","two":""}') :]
    run.reply("A", build.invoke_agent("B", context_updates={"one": half}))
    run.reply("B", {**action, "context_updates": {"two": rest + "x"}})
    assert "the context would have 262145 bytes, the limit is 262144" in run.at("B")["steering"]
    assert "two" not in run.at("B")["context"] and run.at("B")["attempt"] == 2
    run.reply("B", build.invoke_agent("A", context_updates={"two": rest}))
    run.reply("A", build.invoke_agent("B", context_updates={"one": None}))
    assert run.at("B")["context"]["two"] == rest and run.at("B")["context"]["one"] is None
    assert run.replayed() == run.state


def test_a_fork_hands_the_context_down_and_arrivals_do_not_overwrite_the_parents() -> None:
    run = Run({"nodes": ["H", "W", "V"], "edges": ["H <-> W", "W <-> V"], "entry": "H"}, context={"k": "run"})
    run.reply("H", build.parallel_invoke(["W", "W"], context_updates={"k": "parent"}))
    first, second = run.asked
    assert [s["context"]["k"] for s in run.asked.values()] == ["parent"] * 2
    run.reply("W", build.invoke_agent("V", context_updates={"k": "child", "more": 1}), first)
    assert run.at("V")["context"]["k"] == "child" and run.asked[second]["context"]["k"] == "parent"
    run.reply("V", build.parallel_invoke(["W"], context_updates={"k": "grandparent"}))
    assert run.asked["b0.f1.b0.f1.b0#1"]["context"]["k"] == "grandparent"
    run.reply("W", build.final_response("w"), "b0.f1.b0.f1.b0#1")
    run.reply("V", build.final_response("v", context_updates={"k": "end"}))
    run.reply("W", build.final_response("back"), second)
    said = run.at("H")["context"]
    assert said["k"] == "parent" and "more" not in said and run.replayed() == run.state


def test_who_goes_on_for_others_has_the_context_of_the_fork_and_not_of_those_who_came() -> None:
    edges = ["S -> L", "S -> R", "S -> E", "L -> Y", "R -> Y"]
    run = Run({"nodes": ["S", "L", "R", "E", "Y"], "edges": edges})
    run.reply("S", build.parallel_invoke(["L", "R", "E"], context_updates={"k": "owner"}))
    run.reply("L", build.invoke_agent("Y", context_updates={"k": "left"}))
    run.reply("R", build.invoke_agent("Y", context_updates={"k": "right"}))
    assert run.last("BranchConverged").continues == "new"
    assert run.at("Y")["context"]["k"] == "owner" and run.replayed() == run.state
