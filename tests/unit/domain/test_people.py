"""Semantics 8: people are asked, take their time, and what they say goes where it belongs."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from anabranch.domain.turn import Refused
from anabranch_contracts import messages as m
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import RUN, Run

JSON = Any
ALONE = {"nodes": ["A", "B"], "edges": ["A -> B"]}
BACK = {"nodes": ["A", "B"], "edges": ["A -> B", "A <-> User"], "entry": "A"}
ONWARD = {"nodes": ["A", "B"], "edges": ["A -> User", "User -> B"], "entry": "A"}
HUB = {"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"}
PERSON_AS_WORKER = {"nodes": ["H", "B"], "edges": ["H <-> User", "H -> B"], "entry": "H"}


def ask(**more: JSON) -> Run:
    """A run whose agent has asked a person."""
    run = Run(ALONE)
    run.reply("A", build.ask_user("well?", **more))
    return run


def request_of(run: Run) -> JSON:
    (request,) = run.open.values()
    return request


def test_a_request_says_everything_that_whoever_shows_it_needs() -> None:
    schema = {"type": "integer"}
    run = ask(choices=[1, 2], schema=schema, timeout=60, default=1)
    request = request_of(run)
    assert m.UserInputRequested.model_validate(request).request_id == UUID(request["request_id"])
    assert request == {
        "run_id": str(RUN), "request_id": request["request_id"], "branch_id": "b0", "agent": "A", "kind": "question",
        "prompt": "well?", "choices": [1, 2], "schema": schema,
        "expires_at": (run.now + timedelta(seconds=60)).isoformat(),
    }  # fmt: skip
    assert not {"choices", "schema", "expires_at"} & request_of(ask()).keys()
    assert request_of(ask())["request_id"] == request["request_id"], "an id is derived from the place"


@pytest.mark.parametrize("topology", [ALONE, BACK, ONWARD])
def test_the_answer_to_ask_user_returns_to_who_asked_whatever_the_topology(topology: JSON) -> None:
    run = Run(topology)
    run.reply("A", build.ask_user({"any": ["prompt"]}))
    assert request_of(run)["prompt"] == {"any": ["prompt"]} and not run.asked
    run.answer({"any": ["answer"]})
    step = run.at("A")
    assert (step["request"], step["step_number"]) == ({"any": ["answer"]}, 2)
    assert [said["content"] for said in step["memory"]] == ["task", build.ask_user({"any": ["prompt"]})]
    assert run.replayed() == run.state


@pytest.mark.parametrize(
    "reply", [build.invoke_agent("User", "well?"), build.parallel_invoke(["User"], {"User": "well?"})]
)
@pytest.mark.parametrize(("topology", "where"), [(BACK, "A"), (ONWARD, "B")])
def test_the_answer_at_a_user_node_returns_to_who_asked_or_goes_on(topology: JSON, where: str, reply: JSON) -> None:
    run = Run(topology)
    run.reply("A", reply)
    assert request_of(run)["prompt"] == "well?"
    run.answer("yes")
    received = run.at(where)["request"]
    forked = reply["next_action"] == "parallel_invoke"
    if forked and where == "A":
        assert received == [{"agent": "User", "branch_id": "b0.f1.b0", "status": "completed", "result": "yes"}]
    else:
        assert received == "yes" and run.at(where)["branch_id"] == ("b0.f1.b0" if forked else "b0")
    assert run.replayed() == run.state


def test_content_for_a_user_node_may_be_a_whole_question() -> None:
    run = Run({**BACK, "edges": ["User -> B", "A <-> User"]})
    run.reply("A", {"prompt": "which?", "choices": ["x", "y"]})
    request = request_of(run)
    assert (request["prompt"], request["choices"]) == ("which?", ["x", "y"])
    run.answer("y")
    assert run.at("A")["request"] == "y"


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "p", "note": "another key"},
        {"prompt": "p", "choices": []},
        {"prompt": "p", "schema": {"type": "nothing"}},
        {"choices": ["x"]},
        ["prompt"],
        None,
    ],
)
def test_what_is_no_question_is_shown_as_it_is(value: JSON) -> None:
    run = Run({**BACK, "edges": ["User -> B", "A <-> User"]})
    run.reply("A", value)
    request = request_of(run)
    assert request["prompt"] == value and "choices" not in request and "schema" not in request


def test_nothing_runs_and_no_slot_is_held_while_a_person_is_waited_for() -> None:
    run = Run({**HUB, "rules": ["max_parallel_branches(1)", "timeout(10)"]})
    run.reply("H", build.parallel_invoke(["W"] * 2))
    assert list(run.asked) == ["b0.f1.b0#1"]
    run.reply("W", build.ask_user("one?"), "b0.f1.b0#1")
    assert list(run.asked) == ["b0.f1.b1#1"], "the slot is free again"
    run.answer("yes")
    assert list(run.asked) == ["b0.f1.b1#1"], "who was answered waits for a slot"
    run.reply("W", build.ask_user("two?"), "b0.f1.b1#1")
    run.reply("W", "one", "b0.f1.b0#2")
    run.wait(400 * 86_400)
    assert run.state.status == "running" and not run.asked and not run.state.timers
    run.answer("after all")
    assert run.asked["b0.f1.b1#2"]["request"] == "after all" and run.replayed() == run.state


@pytest.mark.parametrize("branch_id", ["b0.f1.b0", None])
def test_what_a_cancelled_branch_or_run_had_asked_is_asked_no_longer(branch_id: str | None) -> None:
    run = Run(HUB)
    run.reply("H", build.parallel_invoke(["W"] * 2))
    run.reply("W", build.ask_user("well?", timeout=60), "b0.f1.b0#1")
    request = request_of(run)["request_id"]
    run.cancel(branch_id)
    assert not run.open and not run.state.timers and run.rows("user_requests")[0]["status"] == "cancelled"
    with pytest.raises(Refused, match="is not open"):
        run.answer("yes", request)
    assert run.replayed() == run.state


@pytest.mark.parametrize(
    ("terms", "value"), [({"default": "no"}, "no"), ({}, None), ({"choices": [1, 2], "default": 2}, 2)]
)
def test_when_time_is_up_the_default_is_the_answer(terms: JSON, value: JSON) -> None:
    run = ask(timeout=60, **terms)
    request = request_of(run)["request_id"]
    run.wait(59.9)
    assert run.open and not run.asked
    run.wait(0.1)
    assert run.at("A")["request"] == value and not run.open and not run.state.timers
    assert run.last("UserInputProvided").by == "timeout" and run.rows("user_requests")[0]["value"] == value
    with pytest.raises(Refused, match="is not open"):
        run.answer("late", request)
    assert run.replayed() == run.state


def test_who_answers_in_time_is_heard_and_the_default_is_not() -> None:
    run = ask(timeout=60, default="no")
    run.answer("yes")
    run.wait(120)
    assert run.at("A")["request"] == "yes" and len(run.of("UserInputProvided")) == 1


def test_a_person_at_a_user_node_may_be_waited_for_so_long_too() -> None:
    run = Run(BACK)
    run.reply("A", build.invoke_agent("User", {"prompt": "well?", "timeout": 5, "default": "no"}))
    run.wait(5)
    assert run.at("A")["request"] == "no" and run.replayed() == run.state


def test_a_person_may_be_one_of_those_that_work_in_parallel() -> None:
    run = Run(PERSON_AS_WORKER)
    run.reply("H", build.parallel_invoke(["User", "B"], {"User": "you?", "B": "it?"}))
    run.reply("B", build.final_response("it"))
    run.answer("me")
    assert [(r["agent"], r["result"]) for r in run.at("H")["request"]] == [("User", "me"), ("B", "it")]
    assert run.replayed() == run.state


@pytest.mark.parametrize("terms", [{"choices": ["a", "b"]}, {"schema": {"type": "string"}}])
def test_who_may_time_out_needs_a_default_that_fits(terms: JSON) -> None:
    run = ask(**terms, timeout=5)
    assert not run.open and "default" in run.at("A")["steering"]


def test_turns_are_counted_with_each_person_apart() -> None:
    nodes = ["A", {"name": "Ann", "kind": "user"}, {"name": "Bob", "kind": "user"}]
    topology = {"nodes": nodes, "edges": ["A <-> Ann", "A <-> Bob"], "entry": "A", "rules": ["max_turns(A <-> Bob, 2)"]}
    run = Run(topology)
    for name in ("Ann", "Bob", "Ann", "Bob", "Ann"):
        run.reply("A", {"next_action": "invoke_agent", "action_input": name, "request": "well?"})
        run.answer("so so")
        run.tend()
    run.reply("A", {"next_action": "invoke_agent", "action_input": "Bob", "request": "enough"})
    assert run.state.status == "completed" and run.result == "enough"


BOSS = {"name": "Boss", "kind": "user"}
ROW = {"nodes": ["A", "B", BOSS], "edges": ["A -> User", "User -> Boss", "Boss -> B"]}
TO_AND_FRO = {"nodes": ["A", BOSS], "edges": ["A -> User", "User <-> Boss"]}


def only(run: Run) -> str:
    (request_id,) = run.open
    return request_id


@pytest.mark.parametrize("topology", [ROW, TO_AND_FRO])
def test_who_is_asked_after_another_person_has_a_request_of_their_own(topology: JSON) -> None:
    run = Run(topology)
    run.reply("A", "well?")
    first = only(run)
    run.answer("by User", first)
    second = only(run)
    with pytest.raises(Refused, match="is not open"):
        run.answer("by User", first)
    assert run.open[second]["prompt"] == "by User" and not run.asked
    run.answer("by Boss", second)
    if topology == ROW:
        assert run.at("B")["request"] == "by Boss"
    else:
        assert len({first, second, only(run)}) == 3 and run.open[only(run)]["prompt"] == "by Boss"
    assert run.replayed() == run.state


def test_whatever_reaches_a_person_with_all_parts_of_a_question_is_one() -> None:
    run = Run({"nodes": ["A"], "edges": ["A <-> User"], "entry": "A"})
    question = {"prompt": "p", "choices": ["a", "b"], "schema": {"type": "string"}, "timeout": 9, "default": "b"}
    run.reply("A", build.invoke_agent("User", question))
    (asked,) = run.open.values()
    assert asked["prompt"] == "p" and asked["choices"] == ["a", "b"] and asked["expires_at"].endswith("00:09+00:00")
    run = Run({"nodes": ["A"], "edges": ["A <-> User"], "entry": "A"})
    run.reply("A", build.invoke_agent("User", {**question, "colour": "red"}))
    (asked,) = run.open.values()
    assert asked["prompt"] == {**question, "colour": "red"} and "choices" not in asked


def test_the_answer_of_a_person_a_fork_went_to_goes_back_to_who_opened_it() -> None:
    edges = ["H <-> User", "W <-> User", "H <-> W"]
    run = Run({"nodes": ["H", "W"], "edges": edges, "entry": "H"})
    run.reply("H", {"next_action": "parallel_invoke", "agents": ["User", "W"]})
    assert [r.returns_to for r in run.state.requests.values()] == ["H"]


def test_what_a_person_is_told_of_a_failure_is_bounded() -> None:
    run = Run({"nodes": ["A"], "edges": ["A <-> User"]})
    run.reply("A", {"next_action": "error_recovery", "error": "x" * 2000})
    (asked,) = run.open.values()
    assert asked["prompt"]["what"] == f"A failed: {'x' * 1990}"
