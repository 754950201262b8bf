"""Semantics 3: what each action does, in each of its spellings; and what cannot be read is said to the agent."""

from typing import Any

import pytest

from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import Run

JSON = Any
FAN = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"]}
ONE = {"nodes": ["A"]}
WITH_USER = {"nodes": ["A", "B"], "edges": ["A -> B", "A <-> User"], "entry": "A"}


def invoke(target: JSON, **more: JSON) -> dict[str, JSON]:
    return {"next_action": "invoke_agent", "action_input": target, **more}


def parallel(**fields: JSON) -> dict[str, JSON]:
    return {"next_action": "parallel_invoke", **fields}


def requests(run: Run) -> list[tuple[str, JSON]]:
    """Agent and request of every owed step, in tree order."""
    return [(step["agent"], step["request"]) for _, step in sorted(run.asked.items())]


INVOKED = [
    (invoke("B"), None),
    (invoke("B", request="r"), "r"),
    (invoke("B", content="c"), "c"),
    (invoke("B", request="r", content="c"), "r"),
    (invoke("B", request=None, content="c"), None),
    (invoke({"agent": "B"}), None),
    (invoke({"agent": "B", "request": "r"}), "r"),
    (invoke({"agent_name": "B", "request": {"deep": [1]}}), {"deep": [1]}),
    (invoke({"agent": "B", "request": None}, content="c"), None),
    (invoke({"agent": "B"}, request="outside"), "outside"),
    (build.invoke_agent("B", 7), 7),
]


@pytest.mark.parametrize(("reply", "received"), INVOKED)
def test_invoke_agent_moves_to_one_agent_with_its_request(reply: JSON, received: JSON) -> None:
    run = Run(FAN)
    run.reply("A", reply)
    assert requests(run) == [("B", received)] and run.at("B")["branch_id"] == "b0"
    assert run.last("StepCompleted").action == "invoke_agent" and run.replayed() == run.state


FORKED = [
    (parallel(agents=["B", "C"], agent_requests={"B": 1, "C": 2}), [("B", 1), ("C", 2)]),
    (parallel(agents=["B", "C"]), [("B", None), ("C", None)]),
    (parallel(agents=["B", "C"], request="same"), [("B", "same"), ("C", "same")]),
    (parallel(agents=["B", "C"], content="same"), [("B", "same"), ("C", "same")]),
    (parallel(agents=["B", "C"], agent_requests={"C": 2}, request="else"), [("B", "else"), ("C", 2)]),
    (parallel(agents=["B", "B"], agent_requests={"B": 1}), [("B", 1), ("B", 1)]),
    (parallel(invocations=[{"agent": "B", "request": i} for i in range(4)]), [("B", i) for i in range(4)]),
    (parallel(invocations=[{"agent": "C"}, {"agent_name": "B", "request": 1}]), [("C", None), ("B", 1)]),
    (parallel(invocations=["C", {"agent": "B"}], request="else"), [("C", "else"), ("B", "else")]),
    (build.parallel_invoke(["B", "C"], tasks=[1, 2, 3]), [("B", 1), ("C", 2), ("B", 3)]),
]


@pytest.mark.parametrize(("reply", "invoked"), FORKED)
def test_parallel_invoke_opens_a_fork_with_a_branch_for_each_invocation(reply: JSON, invoked: JSON) -> None:
    run = Run(FAN)
    run.reply("A", reply)
    assert requests(run) == invoked and list(run.asked) == [f"b0.f1.b{i}#1" for i in range(len(invoked))]
    assert run.state.branches["b0"].waits_on == "b0.f1" and run.replayed() == run.state


@pytest.mark.parametrize("value", ["v", None, 0, False, "", [], {"next_action": "none of ours"}])
@pytest.mark.parametrize("spelling", ["final_response", "content", "response"])
def test_final_response_delivers_its_value_whatever_it_is(spelling: str, value: JSON) -> None:
    run = Run(FAN)
    run.reply("A", {"next_action": "final_response", spelling: value})
    assert run.state.status == "completed" and run.result == value and run.replayed() == run.state


def test_the_canonical_spelling_of_a_final_response_comes_first() -> None:
    run = Run(FAN)
    run.reply("A", {"next_action": "final_response", "response": 3, "content": 2, "final_response": 1})
    assert run.result == 1


def test_ask_user_waits_for_a_person_and_the_answer_returns_to_who_asked() -> None:
    run = Run(FAN)
    run.reply("A", build.ask_user("which?", choices=["B", "C"]))
    (request,) = run.open.values()
    assert not run.asked and (request["prompt"], request["choices"]) == ("which?", ["B", "C"])
    run.answer("C")
    assert requests(run) == [("A", "C")] and run.at("A")["step_number"] == 2 and run.replayed() == run.state


def test_retry_later_asks_the_same_step_again_when_its_time_has_come() -> None:
    run = Run(ONE, config={"retry": {"max_attempts": 1}, "max_steps": 1})
    for attempt in (2, 3, 4):
        run.reply("A", build.retry_later(10))
        run.wait(9.9)
        assert not run.asked
        run.wait(0.1)
        step = run.at("A")
        assert (step["step_id"], step["step_number"], step["attempt"]) == ("b0#1", 1, attempt)
    assert run.state.total_steps == 1 and run.replayed() == run.state


def test_nobody_puts_a_step_off_for_ever() -> None:
    run = Run(ONE, config={"max_branch_steps": 2})
    for _ in range(3):
        run.reply("A", build.retry_later(0))
    assert run.state.status == "failed" and run.state.total_steps == 1


def test_error_recovery_asks_a_person_and_terminal_error_does_not() -> None:
    run = Run(WITH_USER)
    run.reply("A", build.error_recovery("no key"))
    (request,) = run.open.values()
    assert request["kind"] == "error" and "no key" in request["prompt"]["what"]
    run = Run(WITH_USER)
    run.reply("A", build.terminal_error("no use"))
    assert run.state.status == "failed" and not run.open
    assert run.state.error["causes"][0]["message"] == "no use" and run.replayed() == run.state


@pytest.mark.parametrize(
    ("reply", "asked"),
    [
        (build.invoke_agent("B", context_updates={"k": 1}), "B"),
        (build.parallel_invoke(["B"], context_updates={"k": 1}), "B"),
        (build.ask_user("?", context_updates={"k": 1}), "A"),
        (build.retry_later(0, context_updates={"k": 1}), "A"),
        (build.error_recovery("help", context_updates={"k": 1}), "A"),
    ],
)
def test_context_updates_may_stand_in_any_action(reply: JSON, asked: str) -> None:
    run = Run(WITH_USER)
    run.reply("A", reply)
    for request in run.open.values():
        run.answer("retry" if request["kind"] == "error" else "yes")
    assert run.at(asked)["context"]["k"] == 1 and run.replayed() == run.state


MALFORMED = [
    ({"next_action": None}, "next_action"),
    ({"next_action": "dance"}, "invoke_agent, parallel_invoke, final_response"),
    ({"next_action": ["invoke_agent"]}, "next_action"),
    ({"next_action": "invoke_agent"}, "action_input"),
    (invoke(""), "action_input"),
    (invoke(7), "action_input"),
    (invoke({"request": "to nobody"}), "action_input"),
    (parallel(), "agents"),
    (parallel(agents=[]), "names no agent"),
    (parallel(agents="B"), "agents"),
    (parallel(agents=["B", ""]), "agents"),
    (parallel(agents=["B"], agent_requests=["r"]), "agent_requests"),
    (parallel(invocations=[]), "names no agent"),
    (parallel(invocations=[{"request": 1}]), "invocations"),
    (parallel(agents=["B"], inherit_memory="yes"), "inherit_memory"),
    (parallel(agents=["B"], convergence={"min_ratio": 2}), "min_ratio"),
    (parallel(agents=["B"], convergence={"eager": "no"}), "eager"),
    (parallel(agents=["B"], convergence={"timeout": "5"}), "timeout"),
    (parallel(agents=["B"], convergence={"patience": 1}), "patience"),
    ({"next_action": "final_response"}, "final_response"),
    ({"next_action": "ask_user"}, "prompt"),
    ({"next_action": "ask_user", "prompt": "p", "choices": []}, "choices"),
    ({"next_action": "ask_user", "prompt": "p", "choices": "ab"}, "choices"),
    ({"next_action": "ask_user", "prompt": "p", "schema": "number"}, "schema"),
    ({"next_action": "ask_user", "prompt": "p", "schema": {"type": "nothing"}}, "schema"),
    ({"next_action": "ask_user", "prompt": "p", "schema": {"$ref": "http://127.0.0.1/x"}}, "schema"),
    ({"next_action": "ask_user", "prompt": "p", "timeout": -1}, "timeout"),
    ({"next_action": "ask_user", "prompt": "p", "timeout": 1, "choices": ["a"], "default": "b"}, "default"),
    ({"next_action": "retry_later"}, "after_seconds"),
    ({"next_action": "retry_later", "after_seconds": -1}, "after_seconds"),
    ({"next_action": "retry_later", "after_seconds": True}, "after_seconds"),
    ({"next_action": "retry_later", "after_seconds": 1e300}, "after_seconds"),
    (invoke("B", context_updates=["k"]), "context_updates"),
]


@pytest.mark.parametrize(("reply", "why"), MALFORMED)
def test_what_cannot_be_read_is_said_to_the_agent_and_stalls_nothing(reply: JSON, why: str) -> None:
    run = Run(FAN)
    run.reply("A", reply)
    step = run.at("A")
    assert why in step["steering"] and step["attempt"] == 2 and step["step_id"] == "b0#1"
    rejected = run.last("StepRejected")
    assert rejected.response == reply and why in rejected.reason and run.replayed() == run.state


def test_a_fork_is_neither_wider_nor_deeper_than_a_run_can_carry() -> None:
    run = Run({"nodes": ["A"], "edges": ["A -> A"]})
    run.reply("A", parallel(agents=["A"] * 100_001))
    assert "split the work" in run.at("A")["steering"]
    for _ in range(100):
        run.reply("A", parallel(agents=["A"]))
    run.reply("A", parallel(agents=["A"]))
    assert "nested 100 deep" in run.at("A")["steering"] and run.replayed() == run.state


def test_a_time_that_no_calendar_holds_is_waited_for_without_harm() -> None:
    run = Run(FAN, config={"run_timeout": 1e300})
    run.reply("A", parallel(agents=["B"], convergence={"timeout": 1e300}))
    run.fail("B", "rate_limit", retry_after=1e300)
    assert run.state.status == "running" and len(run.state.timers) == 3 and run.replayed() == run.state
