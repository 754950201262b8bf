"""Semantics 7: steering, and what becomes of a step whose attempts are exhausted, with a person at hand and without."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from anabranch.domain.retry import delay
from anabranch.domain.turn import Refused
from anabranch_contracts import messages as m
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import Run

JSON = Any
ALONE = {"nodes": ["A", "B"], "edges": ["A -> B"]}
HELPED = {"nodes": ["A", "B"], "edges": ["A -> B", "A <-> User"], "entry": "A"}
WRONG = {"next_action": "dance"}
CONFIG = {"max_steering": 1, "retry": {"max_attempts": 2, "base_delay": 0}, "max_rate_limit_wait": 5}


def test_steering_says_what_was_wrong_and_what_is_allowed_until_the_agent_has_understood() -> None:
    run = Run(ALONE, config={"max_steps": 2})
    for attempt in (2, 3, 4):
        run.reply("A", WRONG)
        step = run.at("A")
        assert (step["step_id"], step["step_number"], step["attempt"]) == ("b0#1", 1, attempt)
        assert "'dance'" in step["steering"] and "A may invoke: B." in step["steering"]
    run.reply("A", "now content")
    assert run.at("B")["step_number"] == 2 and "steering" not in run.at("B")
    assert run.state.total_steps == 2 and run.replayed() == run.state


def test_what_a_failed_attempt_cost_is_recorded_as_far_as_it_was_said() -> None:
    run = Run(ALONE)
    error = m.StepError(kind="transient", type="Broken", message="broken")
    (failed, *_) = run.late(run.at("A"), error=error, usage=m.Usage(input_tokens=3))
    assert failed.usage == {"input_tokens": 3} and run.state.tokens_used == 3


def test_the_first_attempt_is_not_steered() -> None:
    assert "steering" not in Run(ALONE).at("A")


def test_what_an_agent_was_steered_by_still_holds_when_the_attempt_is_retried() -> None:
    run = Run(HELPED, config=CONFIG)
    run.reply("A", WRONG)
    told = run.at("A")["steering"]
    run.fail("A", "transient")
    run.wait(1)
    assert run.at("A")["attempt"] == 3 and run.at("A")["steering"] == told
    run.reply("A", {"next_action": "error_recovery", "error": "no idea"})
    run.answer("retry")
    run.tend()
    assert "steering" not in run.at("A")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("out", "TerminalError", "out"),
        ({"type": "Quota", "message": "out"}, "Quota", "out"),
        ({"code": 7}, "TerminalError", '{"code":7}'),
        ({"message": ["a"]}, "TerminalError", '["a"]'),
        ("x" * 2001, "TerminalError", "x" * 2000),
        ({"message": "a", "type": "T" * 201}, "T" * 200, "a"),
    ],
)
def test_an_error_is_said_as_the_agent_said_it(error: JSON, kind: str, message: str) -> None:
    run = Run(ALONE)
    run.reply("A", {"next_action": "terminal_error", "error": error})
    (cause,) = run.state.error["causes"]
    assert (cause["kind"], cause["type"], cause["message"]) == ("terminal", kind, message)
    assert (run.last("BranchFailed").agent, cause["agent"]) == ("A", "A")


@pytest.mark.parametrize(("config", "most"), [({}, 3), ({"max_steering": 0}, 0), ({"max_steering": 5}, 5)])
def test_steering_ends(config: JSON, most: int) -> None:
    run = Run(ALONE, config=config)
    for _ in range(most):
        run.reply("A", WRONG)
    assert run.at("A")["attempt"] == most + 1
    run.reply("A", WRONG)
    assert run.state.status == "failed" and len(run.of("StepRejected")) == most + 1
    assert run.state.error["causes"][0]["kind"] == "invalid_reply" and run.state.total_steps == 1


def test_wrong_replies_and_failures_are_counted_apart() -> None:
    run = Run(ALONE, config=CONFIG)
    run.reply("A", WRONG)
    run.fail("A", "transient")
    assert run.at("A")["attempt"] == 3
    run.reply("A", "content")
    assert run.at("B") and run.replayed() == run.state


def steered(run: Run) -> None:
    run.reply("A", WRONG)
    run.reply("A", WRONG)


def retried(run: Run) -> None:
    run.fail("A", "transient")
    run.fail("A", "transient")


def limited(run: Run) -> None:
    for _ in range(2):
        run.fail("A", "rate_limit", retry_after=5)
        run.wait(5)


WAYS: dict[str, Callable[[Run], Any]] = {
    "invalid_reply": steered,
    "transient": retried,
    "rate_limit": limited,
    "recoverable": lambda run: run.fail("A", "recoverable"),
    "poison": lambda run: run.fail("A", "poison"),
    "asked_for": lambda run: run.reply("A", build.error_recovery("stuck")),
}


@pytest.mark.parametrize("way", WAYS)
def test_with_a_user_in_the_topology_a_person_decides(way: str) -> None:
    run = Run(HELPED, config=CONFIG)
    WAYS[way](run)
    (request,) = run.open.values()
    assert request["kind"] == "error" and request["choices"] == ["retry", "skip", "abort"]
    assert request["agent"] == "A" and request["prompt"]["step_id"] == "b0#1"
    assert request["prompt"]["error"]["kind"] == ("recoverable" if way == "asked_for" else way)
    assert not run.asked and run.state.shown_status == "waiting" and run.replayed() == run.state


@pytest.mark.parametrize("way", WAYS)
def test_without_one_the_branch_fails(way: str) -> None:
    run = Run(ALONE, config=CONFIG)
    WAYS[way](run)
    assert run.state.status == "failed" and not run.of("UserInputRequested")
    (cause,) = run.state.error["causes"]
    assert cause["agent"] == "A" and cause["branch_id"] == "b0" and "step b0#1, attempt" in cause["message"]
    assert run.replayed() == run.state


@pytest.mark.parametrize("way", WAYS)
def test_retry_begins_the_step_afresh(way: str) -> None:
    run = Run(HELPED, config={**CONFIG, "max_steps": 1})
    WAYS[way](run)
    attempt = run.last("StepFailed" if way != "invalid_reply" else "StepRejected").attempt
    run.answer("retry")
    step = run.at("A")
    assert (step["step_id"], step["attempt"], step["request"]) == ("b0#1", attempt + 1, "task")
    WAYS[way](run)
    assert len(run.open) == 1, "all its attempts were there again"
    assert run.state.total_steps == 1 and run.replayed() == run.state


@pytest.mark.parametrize(
    ("decision", "asked"),
    [
        ({"decision": "retry"}, "task"),
        ({"decision": "retry", "request": "other"}, "other"),
        ({"decision": "retry", "request": None}, None),
        ({"decision": "retry", "request": {"decision": "skip"}}, {"decision": "skip"}),
    ],
)
def test_retry_may_have_another_request(decision: JSON, asked: JSON) -> None:
    run = Run(HELPED)
    run.fail("A", "recoverable")
    run.answer(decision)
    assert run.at("A")["request"] == asked
    run.reply("A", "a")
    run.reply("B", "b")
    assert run.result == "b" and run.replayed() == run.state


@pytest.mark.parametrize("decision", ["skip", {"decision": "skip"}])
def test_skip_goes_on_with_null_as_content(decision: JSON) -> None:
    run = Run(HELPED)
    run.fail("A", "recoverable")
    run.answer(decision)
    assert run.at("B")["request"] is None and run.at("B")["step_number"] == 2
    assert run.rows("step_rows")[0]["status"] == "skipped" and run.replayed() == run.state


def test_skip_where_nothing_follows_ends_with_null() -> None:
    run = Run(HELPED)
    run.reply("A", "a")
    run.fail("B", "recoverable")
    run.answer("skip")
    assert run.state.status == "completed" and run.result is None


def test_skip_where_the_agent_would_have_had_to_choose_ends_the_branch() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C", "A <-> User"], "entry": "A"})
    run.fail("A", "recoverable")
    run.answer("skip")
    assert run.state.status == "completed" and run.result is None and run.replayed() == run.state


def test_skip_of_an_agent_that_dispatches_to_all_forks() -> None:
    nodes = [{"name": "A", "dispatch": "all"}, "B", "C"]
    run = Run({"nodes": nodes, "edges": ["A <-> B", "A <-> C", "A <-> User"], "entry": "A"})
    run.fail("A", "recoverable")
    run.answer("skip")
    assert [(s["agent"], s["request"]) for s in run.asked.values()] == [("B", None), ("C", None)]


def test_abort_fails_the_branch_and_says_who_wanted_it() -> None:
    run = Run(HELPED)
    run.fail("A", "recoverable")
    run.answer("abort")
    assert run.state.status == "failed" and "aborted by a person" in run.last("BranchFailed").error["message"]
    assert not run.of("StepSkipped") and run.replayed() == run.state


NO_DECISION = [
    *(None, "", "perhaps", "Retry", True, 1, [], ["retry"], {}, {"request": 1}, {"decision": ["skip"]}),
    *({"decision": "skip", "request": 1}, {"decision": "retry", "why": "because"}),
]


@pytest.mark.parametrize("value", NO_DECISION)
def test_a_decision_that_is_none_is_refused_and_the_request_stays_open(value: JSON) -> None:
    run = Run(HELPED)
    run.fail("A", "recoverable")
    version, open_before = run.state.version, run.open
    with pytest.raises(Refused, match=r'answer "retry", "skip" or "abort"|only the retry|unknown parts: why'):
        run.answer(value)
    assert run.state.version == version and run.open == open_before
    run.answer("skip")
    assert run.at("B") and run.replayed() == run.state


@pytest.mark.parametrize("topology", [ALONE, HELPED])
def test_a_terminal_error_is_for_nobody_to_decide(topology: JSON) -> None:
    run = Run(topology)
    run.fail("A", "terminal")
    assert run.state.status == "failed" and not run.of("UserInputRequested") and not run.of("StepRetryScheduled")
    assert run.state.error["kind"] == "insufficient" and run.state.error["causes"][0]["kind"] == "terminal"
    assert run.replayed() == run.state


@pytest.mark.parametrize("end", ["terminal", "abort"])
def test_the_policy_of_its_fork_decides_what_a_failed_branch_means(end: str) -> None:
    topology = {"nodes": ["A", "B"], "edges": ["A <-> B", "A <-> User"], "entry": "A"}
    run = Run(topology, config={"convergence": {"min_ratio": 0.5}})
    run.reply("A", build.parallel_invoke(["B", "B"]))
    run.reply("B", "fine", "b0.f1.b1#1")
    run.fail("B", "recoverable" if end == "abort" else end)
    for request in list(run.open):
        run.answer("abort", request)
    records = run.at("A")["request"]
    assert [r["status"] for r in records] == ["failed", "completed"]
    assert "broken" in records[0]["error"]["message"] and run.replayed() == run.state


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("perhaps", 'is no decision; answer "retry", "skip" or "abort", or {"decision", "request"}'),
        ({"decision": "retry", "request": 1, "why": 1, "by": 2}, "has unknown parts: by, why"),
        ({"decision": "skip", "request": 1}, "has a request, which only the retry of one step can have"),
    ],
)
def test_why_it_is_none_is_said(value: JSON, why: str) -> None:
    run = Run(HELPED)
    run.fail("A", "recoverable")
    with pytest.raises(Refused) as refusal:
        run.answer(value)
    assert str(refusal.value).endswith(f" {why}")


def test_what_a_branch_may_do_instead_is_said() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"]})
    run.reply("A", {"next_action": "dance"})
    assert run.at("A")["steering"].endswith("A may invoke: B, C.")
    run.reply("A", "content")
    assert "one of B, C}" in run.at("A")["steering"]
    run = Run({"nodes": ["A"]})
    run.reply("A", build.invoke_agent("B"))
    assert run.at("A")["steering"].endswith("A may invoke: nobody: answer with final content.")


def test_a_rate_limit_that_says_now_pauses_as_long_as_a_first_retry() -> None:
    run = Run(ALONE)
    run.fail("A", "rate_limit", retry_after=0)
    pause = delay({"base_delay": 1.0, "max_delay": 60.0}, "b0#1", 1)
    due = datetime.fromisoformat(run.last("StepRetryScheduled").due_at)
    assert (due - run.now).total_seconds() == pytest.approx(pause, abs=1e-5)
