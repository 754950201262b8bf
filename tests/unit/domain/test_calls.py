"""Code-first calls: an agent waits inside its code for other agents or a person, and the results come back into it."""

from typing import Any

import pytest

from anabranch.domain.turn import Refused
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import Run

JSON = Any
TEAM = {"nodes": ["A", "B", "C"], "edges": ["A <-> B", "A <-> C", "B -> C"], "entry": "A"}
HELPED = {**TEAM, "edges": [*TEAM["edges"], "A <-> User"]}


def call(*agents: str, number: int = 1, **more: JSON) -> dict[str, JSON]:
    """A call to agents, each asked for its place in the call."""
    invocations = [{"agent": agent, "request": i} for i, agent in enumerate(agents)]
    return {"next_action": "call", "number": number, "print": f"print {number}", "invocations": invocations, **more}


def question(number: int = 1, **terms: JSON) -> dict[str, JSON]:
    """A call to a person."""
    ask = {"prompt": "well?", **terms}
    return {"next_action": "call", "number": number, "print": f"print {number}", "ask": ask}


def record(agent: str, branch_id: str, result: JSON) -> dict[str, JSON]:
    return {"agent": agent, "branch_id": branch_id, "status": "completed", "result": result}


def test_a_call_suspends_the_step_and_its_results_come_back_into_it() -> None:
    run = Run(TEAM)
    run.reply("A", call("B", "C", "B"))
    assert run.rows("step_rows")[0]["status"] == "waiting" and run.last("StepSuspended").call["of"] == ["B", "C", "B"]
    assert [(s["agent"], s["request"]) for _, s in sorted(run.asked.items())] == [("B", 0), ("C", 1), ("B", 2)]
    for _, step in sorted(run.asked.items(), reverse=True):
        run.reply(step["agent"], f"{step['agent']}{step['request']}", step["step_id"])
    step = run.at("A")
    records = [record("B", "b0.f1.b0", "B0"), record("C", "b0.f1.b1", "C1"), record("B", "b0.f1.b2", "B2")]
    assert step["calls"] == [{"print": "print 1", "value": records}]
    assert (step["step_id"], step["step_number"], step["attempt"], step["request"]) == ("b0#1", 1, 2, "task")
    assert step["memory"] == [] and run.state.total_steps == 4 and run.replayed() == run.state


def test_calls_follow_each_other_and_the_step_ends_with_a_reply() -> None:
    run = Run(TEAM)
    for number in (1, 2, 3):
        run.reply("A", call("B", number=number))
        run.reply("B", f"b{number}")
    step = run.at("A")
    assert [c["value"][0]["result"] for c in step["calls"]] == ["b1", "b2", "b3"] and step["attempt"] == 4
    run.reply("A", build.invoke_agent("C", "reduced"))
    assert run.at("C")["request"] == "reduced" and "calls" not in run.at("C")
    assert run.at("C")["step_number"] == 2 and run.replayed() == run.state


@pytest.mark.parametrize("answer", ["content", {"any": 1}, None, build.final_response("content")])
def test_what_a_called_agent_answers_is_the_result_wherever_content_would_have_gone(answer: JSON) -> None:
    run = Run(TEAM)
    run.reply("A", call("B"))
    run.reply("B", answer)
    value = answer["final_response"] if answer == build.final_response("content") else answer
    assert run.at("A")["calls"][0]["value"] == [record("B", "b0.f1.b0", value)] and not run.of("StepRejected")


def test_a_called_agent_may_hand_on_and_what_comes_of_that_is_the_result() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A <-> B", "B <-> C"], "entry": "A"})
    run.reply("A", call("B"))
    run.reply("B", build.invoke_agent("C", "for you"))
    run.reply("C", "from C")
    assert run.at("A")["calls"][0]["value"] == [record("C", "b0.f1.b0", "from C")] and run.replayed() == run.state


def test_a_called_agent_may_call_in_its_turn() -> None:
    run = Run(TEAM)
    run.reply("A", call("B"))
    run.reply("B", call("C"))
    run.reply("C", "deep")
    assert run.at("B")["calls"][0]["value"] == [record("C", "b0.f1.b0.f1.b0", "deep")]
    run.reply("B", "b")
    assert run.at("A")["calls"][0]["value"] == [record("B", "b0.f1.b0", "b")] and run.replayed() == run.state


def test_invoking_the_caller_returns_to_it() -> None:
    run = Run(TEAM)
    run.reply("A", call("B"))
    run.reply("B", build.invoke_agent("A", "back"))
    assert run.at("A")["calls"][0]["value"] == [record("B", "b0.f1.b0", "back")] and run.at("A")["branch_id"] == "b0"


@pytest.mark.parametrize("number", [0, -1, 2, 3])
def test_a_call_that_does_not_follow_on_the_last_is_refused(number: int) -> None:
    run = Run(TEAM)
    run.reply("A", call("B", number=number))
    step = run.at("A")
    assert f"call {number} does not follow" in step["steering"] and step["attempt"] == 2 and len(run.asked) == 1
    run.reply("A", call("B"))
    run.reply("B", "b")
    run.reply("A", call("B"))
    assert "call 1 does not follow" in run.at("A")["steering"] and len(run.at("A")["calls"]) == 1
    assert run.replayed() == run.state


MALFORMED = [
    (call("End"), "End cannot be called"),
    (call("B", "End"), "End cannot be called"),
    (call("A"), "A may not invoke A"),
    (call("nobody"), "A may not invoke nobody"),
    (call(), "needs `invocations` or `ask`"),
    ({**call("B"), "ask": {"prompt": "?"}}, "needs `invocations` or `ask`"),
    (call("B", timeout=-1), "timeout"),
    ({**call("B"), "print": 7}, "needs `number` and `print`"),
    ({**call("B"), "number": "1"}, "needs `number` and `print`"),
    ({**call("B"), "invocations": [{"request": 1}]}, "invocations"),
    (question(choices=[]), "choices"),
    (question(schema={"type": "nothing"}), "schema"),
]


@pytest.mark.parametrize(("reply", "why"), MALFORMED)
def test_a_call_that_cannot_be_made_is_steered(reply: JSON, why: str) -> None:
    run = Run({**TEAM, "edges": [*TEAM["edges"], "A -> End"]})
    run.reply("A", reply)
    assert why in run.at("A")["steering"] and "calls" not in run.at("A") and len(run.asked) == 1


def test_a_call_may_not_take_an_edge_that_is_closed() -> None:
    edges = ["A <-> B", {"source": "A", "target": "C", "condition": "context.open == true"}]
    for context in ({"open": True}, {"open": False}):
        run = Run({**TEAM, "edges": edges}, context=context)
        run.reply("A", call("C"))
        assert bool(run.of("StepRejected")) != context["open"]


def test_the_call_is_no_action_that_agents_are_told_of() -> None:
    run = Run(TEAM)
    run.reply("A", {"next_action": "dance"})
    assert "call" not in run.at("A")["steering"]


@pytest.mark.parametrize("policy", [{}, {"fail_fast": True}, {"min_ratio": 0.5, "eager": True}])
def test_failures_come_back_as_records_whatever_the_policy_of_the_run(policy: JSON) -> None:
    run = Run(TEAM, config={"convergence": policy})
    run.reply("A", call("B", "C"))
    run.reply("B", "b")
    run.fail("C")
    (made,) = run.at("A")["calls"]
    assert made["value"][0] == record("B", "b0.f1.b0", "b")
    assert (made["value"][1]["status"], made["value"][1]["error"]["kind"]) == ("failed", "terminal")
    assert run.replayed() == run.state


def test_a_call_whose_time_is_over_comes_back_with_what_is_there() -> None:
    run = Run(TEAM)
    run.reply("A", call("B", "C", timeout=30))
    late = run.at("C")
    run.reply("B", "b")
    run.wait(29.9)
    assert run.at("C")
    run.wait(0.1)
    first, second = run.at("A")["calls"][0]["value"]
    assert first["result"] == "b" and (second["status"], second["error"]["kind"]) == ("failed", "timeout")
    (event,) = run.late(late, response="too late")
    assert type(event).__name__ == "StepResultDiscarded" and run.replayed() == run.state


def test_a_cancelled_branch_comes_back_as_cancelled() -> None:
    run = Run(TEAM)
    run.reply("A", call("B"))
    run.cancel("b0.f1.b0")
    assert [r["status"] for r in run.at("A")["calls"][0]["value"]] == ["cancelled"]


def test_a_question_from_inside_waits_for_a_person_and_the_answer_comes_back_into_the_code() -> None:
    run = Run(TEAM)
    run.reply("A", question(choices=["x", "y"]))
    (request,) = run.open.values()
    assert (request["kind"], request["prompt"], request["agent"]) == ("call", "well?", "A") and not run.asked
    assert run.last("StepSuspended").call["of"] == ["User"] and run.rows("step_rows")[0]["status"] == "waiting"
    with pytest.raises(Refused, match="is not one of"):
        run.answer("z")
    run.answer("y")
    step = run.at("A")
    assert step["calls"] == [{"print": "print 1", "value": "y"}] and step["attempt"] == 2
    assert step["request"] == "task" and run.state.total_steps == 1 and run.replayed() == run.state


def test_a_question_from_inside_has_its_default_when_time_is_up() -> None:
    run = Run(TEAM)
    run.reply("A", question(timeout=5, default="no"))
    run.wait(5)
    assert run.at("A")["calls"] == [{"print": "print 1", "value": "no"}]


def test_calls_survive_steering_retries_and_a_persons_word() -> None:
    run = Run(HELPED, config={"retry": {"max_attempts": 2, "base_delay": 0}})
    run.reply("A", call("B"))
    run.reply("B", "b")
    calls = run.at("A")["calls"]
    run.reply("A", {"next_action": "dance"})
    assert run.at("A")["calls"] == calls
    run.fail("A", "transient")
    assert run.at("A")["calls"] == calls
    run.fail("A", "rate_limit", retry_after=0)
    assert run.at("A")["calls"] == calls
    run.fail("A", "transient")
    run.answer("retry")
    assert run.at("A")["calls"] == calls and run.at("A")["attempt"] == 6
    assert len(run.of("ForkOpened")) == 1 and run.replayed() == run.state


def test_another_request_begins_the_code_anew_without_the_calls_of_the_old_one() -> None:
    run = Run(HELPED)
    run.reply("A", call("B"))
    run.reply("B", "b")
    run.fail("A", "recoverable")
    run.answer({"decision": "retry", "request": "other"})
    step = run.at("A")
    assert step["request"] == "other" and "calls" not in step
    run.reply("A", call("C"))
    assert run.at("C")["branch_id"] == "b0.f2.b0" and run.replayed() == run.state


def test_a_called_agent_whose_step_is_skipped_gives_null_to_its_caller() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A -> B", "B -> C", "A <-> User"], "entry": "A"})
    run.reply("A", call("B"))
    run.fail("B", "recoverable")
    run.answer("skip")
    assert run.at("A")["calls"][0]["value"] == [record("B", "b0.f1.b0", None)] and run.replayed() == run.state


def test_who_waits_inside_its_code_waits_for_a_slot_to_go_on() -> None:
    run = Run({**TEAM, "nodes": ["A", "B", "C"], "rules": ["max_parallel_branches(1)"]})
    run.reply("A", call("B", "C"))
    assert list(run.asked) == ["b0.f1.b0#1"]
    run.reply("B", "b")
    run.reply("C", "c")
    assert list(run.asked) == ["b0#1"] and run.replayed() == run.state


def test_a_call_may_not_have_more_branches_than_the_run() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A", "rules": ["max_branches(2)"]})
    calls = {"next_action": "call", "number": 1, "print": "p", "invocations": [{"agent": "B"}] * 2}
    run.reply("A", calls)
    assert run.state.status == "failed" and run.last("RuleApplied").type == "MaxBranchesRule"
    assert not run.of("ForkOpened") and run.replayed() == run.state


def test_what_an_agent_was_steered_by_still_holds_when_a_person_has_answered_its_call() -> None:
    run = Run(HELPED)
    run.reply("A", {"next_action": "dance"})
    steering = run.at("A")["steering"]
    run.reply("A", question())
    run.answer("yes")
    run.tend()
    assert run.at("A")["steering"] == steering


def test_a_branch_that_is_cancelled_while_its_call_is_under_way_leaves_no_step_waiting() -> None:
    run = Run({**TEAM, "entry": ["A", "C"]})
    run.reply("A", call("B"))
    run.cancel("b0")
    (status,) = [row["status"] for row in run.rows("step_rows") if row["step_id"] == "b0#1"]
    assert status == "cancelled" and run.at("C")
