"""Semantics 3 and 4: what a reply does, and where control goes."""

import pytest

from anabranch_contracts.reply_builders import final_response, parallel_invoke
from tests.unit.domain.runs import Run

CHAIN = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "B -> C"]}
TALK = {"nodes": ["A", "B"], "edges": ["A <-> B"]}


def test_content_of_an_agent_with_one_successor_is_its_request() -> None:
    run = Run(CHAIN, task="t")
    assert run.at("A")["request"] == "t"
    run.reply("A", "a")
    assert run.at("B")["request"] == "a"
    run.reply("B", {"any": ["json"]})
    assert run.at("C")["request"] == {"any": ["json"]}
    run.reply("C", "c")
    assert run.state.status == "completed" and run.result == "c"


def test_final_response_ends_the_branch_early() -> None:
    run = Run(CHAIN)
    run.reply("A", {"next_action": "final_response", "final_response": 42})
    assert run.result == 42


@pytest.mark.parametrize("spelling", ["content", "response"])
def test_final_response_by_its_other_spellings(spelling: str) -> None:
    run = Run(CHAIN)
    run.reply("A", {"next_action": "final_response", spelling: "v"})
    assert run.result == "v"


@pytest.mark.parametrize(
    "action_input",
    ["B", {"agent": "B", "request": "r"}, {"agent_name": "B", "request": "r"}],
)
def test_invoke_agent_moves(action_input: object) -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"]})
    run.reply("A", {"next_action": "invoke_agent", "action_input": action_input, "request": "r"})
    assert run.at("B")["request"] == "r"


def test_a_conversation_is_one_branch_that_remembers() -> None:
    run = Run(TALK, task="hello")
    run.reply("A", "a1")
    run.reply("B", "b1")
    step = run.at("A")
    assert step["branch_id"] == "b0" and step["step_number"] == 3
    assert [m["content"] for m in step["memory"]] == ["hello", "a1"]
    assert run.state.branches["b0"].type == "conversation"


def test_the_window_of_memory_is_bounded() -> None:
    run = Run(TALK, config={"max_messages": 4})
    for _ in range(5):
        run.reply("A", "a")
        run.reply("B", "b")
    assert len(run.at("A")["memory"]) == 4


def test_context_reaches_every_step_and_updates_are_handed_down() -> None:
    run = Run(CHAIN, context={"session_id": "s"})
    assert run.at("A")["context"] == {
        "session_id": "s", "run_id": str(run.state.run_id), "branch_id": "b0", "step_number": 1,
    }  # fmt: skip
    run.reply("A", {"next_action": "invoke_agent", "action_input": "B", "context_updates": {"k": 1}})
    assert run.at("B")["context"]["k"] == 1


def test_an_invalid_reply_is_steered_and_then_fails_the_branch() -> None:
    run = Run(CHAIN, config={"max_steering": 1})
    run.reply("A", {"next_action": "invoke_agent", "action_input": "C"})
    step = run.at("A")
    assert step["attempt"] == 2 and "may invoke: B" in step["steering"] and step["step_number"] == 1
    run.reply("A", {"next_action": "dance"})
    assert run.state.status == "failed" and run.state.total_steps == 1


def test_content_with_several_successors_and_no_dispatch_is_ambiguous() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"]})
    run.reply("A", "which?")
    assert "B, C" in run.at("A")["steering"]


def test_end_delivers_to_the_run() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B", "B -> End"]})
    run.reply("A", "a")
    run.reply("B", "b")
    assert run.result == "b"


def test_max_steps_ends_a_run_that_would_not_end() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A <-> B"], "rules": ["max_steps(3)"]})
    for agent in "ABA":
        run.reply(agent, "again")
    assert run.state.status == "failed" and run.state.error["type"] == "MaxStepsRule"


def test_a_late_result_is_recorded_and_changes_nothing() -> None:
    from anabranch.domain.deciders import Router
    from anabranch_contracts.messages import StepCompleted

    run = Run(CHAIN)
    old = run.at("A")
    run.reply("A", "a")
    before = dict(run.asked)
    late = StepCompleted(run_id=old["run_id"], branch_id="b0", step_id=old["step_id"], attempt=1, response="late")
    (event,) = run.tell(Router(), late)
    assert type(event).__name__ == "StepResultDiscarded" and run.asked == before


def test_the_folded_state_is_the_live_state() -> None:
    run = Run(TALK)
    run.reply("A", "a")
    assert run.replayed() == run.state


def test_end_among_others_is_delivered_at_once() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A <-> B", "A -> End"], "entry": "A"})
    run.reply("A", parallel_invoke(invocations=[{"agent": "End", "request": 1}, {"agent": "B", "request": 2}]))
    delivered = run.last("ResultDelivered")
    assert (delivered.branch_id, delivered.agent, delivered.value) == ("b0", "A", 1)
    run.reply("B", "b")
    assert [(r["branch_id"], r["result"]) for r in run.at("A")["request"]] == [("b0.f1.b1", "b")]
    run.reply("A", final_response("last"))
    assert [r["result"] for r in run.result] == ["last", 1] and run.state.result_count == 2
