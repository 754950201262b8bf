"""Semantics 7, row by row, from outside: what goes wrong with a step, and what becomes of it."""

from datetime import datetime
from typing import Any

import pytest

from tests.acceptance.stage import AskedRun, Seen, Stage

JSON = Any
pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = {"nodes": ["A"]}
WITH_USER = {"nodes": ["A"], "edges": ["A <-> User"]}
TEAM = {"nodes": ["Boss", "W1", "W2"], "edges": ["Boss -> W1", "Boss -> W2"]}
FORK = {"next_action": "parallel_invoke", "agents": ["W1", "W2"]}
FINAL = {"next_action": "final_response", "final_response": "$request"}
GATE = {"wait_for": "gate"}
WRONG = {"next_action": "dance"}
AT_ONCE = {"retry": {"base_delay": 0}}
DELIVERIES = 5
DECISIONS = ["retry", "skip", "abort"]

Failure = tuple[JSON, JSON, str, str, int]
FAILURES: dict[str, Failure] = {
    "steering, three times by default": (WRONG, {}, "invalid_reply", "InvalidReply", 4),
    "steering once": (WRONG, {"max_steering": 1}, "invalid_reply", "InvalidReply", 2),
    "no steering": (WRONG, {"max_steering": 0}, "invalid_reply", "InvalidReply", 1),
    "three attempts by default": ({"raise": "ValueError"}, AT_ONCE, "transient", "ValueError", 3),
    "a class of the agent's own": ({"raise": "Odd"}, AT_ONCE, "transient", "Odd", 3),
    "a connection error": ({"raise": "ConnectionError"}, AT_ONCE, "transient", "ConnectionError", 3),
    "one attempt": ({"raise": "ValueError"}, {"retry": {"max_attempts": 1}}, "transient", "ValueError", 1),
    "not to be retried": ({"raise": "Odd"}, {"retry": {"non_retryable": ["Odd"]}}, "transient", "Odd", 1),
    "an agent that exits": ({"raise": "SystemExit"}, AT_ONCE, "transient", "AgentExited", 3),
    "a step that takes too long": (
        {"wait_for": "never"},
        {"step_timeout": 0.3, "retry": {"base_delay": 0, "max_attempts": 2}},
        "transient",
        "StepTimeout",
        2,
    ),
    "limited for too long": ({"raise": "RateLimited"}, {"max_rate_limit_wait": 0}, "rate_limit", "RateLimited", 1),
    "RecoverableError": ({"raise": "RecoverableError"}, {}, "recoverable", "RecoverableError", 1),
    "error_recovery": ({"next_action": "error_recovery", "error": "help"}, {}, "recoverable", "ErrorRecovery", 1),
    "TerminalError": ({"raise": "TerminalError"}, {}, "terminal", "TerminalError", 1),
    "terminal_error": ({"next_action": "terminal_error", "error": "over"}, {}, "terminal", "TerminalError", 1),
}
RECOVERABLE = [name for name, (_, _, kind, _, _) in FAILURES.items() if kind != "terminal"]
TERMINAL = [name for name in FAILURES if name not in RECOVERABLE]
BUSY = [{"raise": "RateLimited", "retry_after": 1}, {"raise": "RateLimitError"}, {"raise": "Http", "status_code": 429}]
BACKOFF = {"retry": {"max_attempts": 6, "base_delay": 0.1, "max_delay": 0.3}}
HELPLESS = {"raise": "RecoverableError", "message": "no key"}
DECIDED: dict[str, tuple[JSON, JSON]] = {
    "retry": ("retry", "go"),
    "retry as an object": ({"decision": "retry"}, "go"),
    "retry with another request": ({"decision": "retry", "request": {"new": 1}}, {"new": 1}),
}

CASES: dict[str, JSON] = {
    **{
        f"nobody to ask, {name}": {"topology": ONE, "script": {"A": [what]}, "config": config}
        for name, (what, config, *_) in FAILURES.items()
    },
    **{
        f"a person, {name}": {"topology": WITH_USER, "script": {"A": [what]}, "config": config}
        for name, (what, config, *_) in FAILURES.items()
    },
    **{f"decide, {name}": {"topology": WITH_USER, "script": {"A": [[HELPLESS, HELPLESS, FINAL]]}} for name in DECIDED},
    "decide, skip": {
        "topology": {"nodes": ["A", "B"], "edges": ["A -> B", "A <-> User"]},
        "script": {"A": [HELPLESS], "B": [["$request"]]},
    },
    "afresh": {"topology": WITH_USER, "script": {"A": [[*[{"raise": "ValueError"}] * 4, FINAL]]}, "config": AT_ONCE},
    "busy": {"topology": ONE, "script": {"A": [[*BUSY, "$attempt"]]}, "config": {"retry": {"max_attempts": 1}}},
    "limited for long": {
        "topology": ONE,
        "script": {"A": [{"raise": "RateLimited", "retry_after": 0.1}]},
        "config": {"max_rate_limit_wait": 0.5},
    },
    "backoff": {"topology": ONE, "script": {"A": [{"raise": "ValueError"}]}, "config": BACKOFF},
    "backoff again": {"topology": ONE, "script": {"A": [{"raise": "ValueError"}]}, "config": BACKOFF},
    "recovered": {"topology": ONE, "script": {"A": [[{"raise": "ValueError"}, WRONG, "$attempt"]]}, "config": AT_ONCE},
    "in a fork": {"topology": TEAM, "script": {"Boss": [FORK, FINAL], "W1": [{"raise": "TerminalError"}]}},
    "in a lenient fork": {
        "topology": TEAM,
        "script": {
            "Boss": [{**FORK, "convergence": {"min_ratio": 0.5}}, FINAL],
            "W1": [{"raise": "TerminalError"}],
        },
    },
}

ALONE: JSON = {"topology": ONE, "script": {"A": [GATE]}}
SECOND: JSON = {"topology": ONE, "script": {"A": [[{"raise": "ValueError"}, GATE]]}, "config": AT_ONCE}
LAST: JSON = {"topology": {"nodes": ["A", "B"], "edges": ["A -> B"]}, "script": {"B": [GATE]}}
ASKING: JSON = {"topology": WITH_USER, "script": {"A": [GATE]}}
BOTH: JSON = {"topology": TEAM, "script": {"Boss": [FORK, FINAL], "W1": [GATE], "W2": [GATE]}}
PROCEEDING: JSON = {
    "topology": TEAM,
    "script": {"Boss": [{**FORK, "convergence": {"on_insufficient": "proceed"}}, FINAL], "W1": [GATE]},
}


def tried(seen: Seen) -> list[JSON]:
    """Every attempt that came to nothing."""
    return seen.recorded("StepFailed") + seen.recorded("StepRejected")


@pytest.mark.parametrize("name", FAILURES)
async def test_with_nobody_to_ask_a_failure_ends_the_branch(runs: dict[str, AskedRun], name: str) -> None:
    _, _, kind, type_, attempts = FAILURES[name]
    seen = await runs[f"nobody to ask, {name}"].seen()
    assert (seen.status, seen.error["kind"], seen.error["type"]) == ("failed", "insufficient", "ForkFailed")
    (cause,), (branch,), (step,) = seen.error["causes"], seen.branches, seen.steps
    assert (cause["agent"], cause["branch_id"]) == ("A", "b0") and cause["message"] in seen.error["message"]
    for error in (cause, branch["error"]):
        assert (error["kind"], error["type"]) == (kind, type_) and error["message"]
    assert (branch["status"], step["attempt"], seen.run["total_steps"]) == ("failed", attempts, 1)
    if name == "terminal_error":  # a reply that is accepted
        assert (step["status"], step["action"]) == ("completed", "terminal_error") and not tried(seen)
    else:
        assert (step["status"], step["error"]["kind"], step["error"]["type"]) == ("failed", kind, type_)
        assert len(tried(seen)) == attempts, "each attempt is on record"
    assert seen.user_requests == []


@pytest.mark.parametrize("name", RECOVERABLE)
async def test_a_person_decides_where_there_is_one(runs: dict[str, AskedRun], name: str) -> None:
    _, _, kind, type_, attempts = FAILURES[name]
    run = runs[f"a person, {name}"]
    question = await run.question("error")
    assert question["choices"] == DECISIONS and (question["agent"], question["branch_id"]) == ("A", "b0")
    assert (question["prompt"]["error"]["kind"], question["prompt"]["error"]["type"]) == (kind, type_)
    assert (await run.row())["status"] == "waiting"
    await run.answer(question, "abort")
    seen = await run.seen()
    (cause,), (step,) = seen.error["causes"], seen.steps
    assert (seen.status, cause["kind"], cause["type"]) == ("failed", kind, type_)
    assert "aborted by a person" in cause["message"] and "aborted by a person" in seen.branches[0]["error"]["message"]
    assert (step["attempt"], len(tried(seen)), seen.branches[0]["type"]) == (attempts, attempts, "user_interaction")
    assert [(r["status"], r["value"], r["choices"]) for r in seen.user_requests] == [("answered", "abort", DECISIONS)]


@pytest.mark.parametrize("name", TERMINAL)
async def test_of_a_terminal_error_nobody_is_asked(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"a person, {name}"].seen()
    assert seen.status == "failed" and seen.error["causes"][0]["kind"] == "terminal" and seen.user_requests == []


@pytest.mark.parametrize("name", DECIDED)
async def test_retry_asks_the_same_step_again(runs: dict[str, AskedRun], name: str) -> None:
    run, (decision, request) = runs[f"decide, {name}"], DECIDED[name]
    refused = await run.answer(await run.question("error"), "perhaps")
    assert not refused["accepted"] and "is no decision" in refused["reason"]
    (asked,) = await run.rows("user_requests")
    assert asked["status"] == "open", "a refused answer leaves the request open"
    await run.answer({"request_id": str(asked["request_id"])}, decision)
    await run.answer(await run.question("error"), "retry")
    seen = await run.seen()
    assert (seen.status, seen.result) == ("completed", request)
    (step,) = seen.steps
    assert (step["step_id"], step["attempt"], step["status"]) == ("b0#1", 3, "completed")
    assert [r["request"] for r in seen.recorded("StepRequested")] == ["go", request, request]
    assert [r["value"] for r in seen.user_requests] == [decision, "retry"]


async def test_skip_goes_on_with_null_as_content(runs: dict[str, AskedRun]) -> None:
    run = runs["decide, skip"]
    await run.answer(await run.question("error"), "skip")
    seen = await run.seen()
    assert seen.status == "completed" and seen.result is None
    assert [(s["agent"], s["status"], s["request"]) for s in seen.steps] == [
        ("A", "skipped", "go"),
        ("B", "completed", None),
    ]


async def test_a_step_that_a_person_retries_has_all_its_attempts_anew(runs: dict[str, AskedRun]) -> None:
    run = runs["afresh"]
    question = await run.question("error")
    assert (await run.rows("steps"))[0]["attempt"] == 3
    await run.answer(question, "retry")
    seen = await run.seen()
    assert seen.result == "go" and seen.steps[0]["attempt"] == 5 and len(seen.user_requests) == 1


async def test_rate_limits_are_waited_out_and_are_no_failures(runs: dict[str, AskedRun]) -> None:
    """Known by their class, by the names that model clients use, and by HTTP 429; `retry_after` is honoured."""
    seen = await runs["busy"].seen()
    assert seen.result == 4 and [f["error"]["kind"] for f in seen.recorded("StepFailed")] == ["rate_limit"] * 3
    assert seen.recorded("StepFailed")[0]["error"]["retry_after"] == 1
    asked = [event["recorded_at"] for event in seen.events if event["type"] == "StepRequested"]
    assert (asked[1] - asked[0]).total_seconds() >= 1


async def test_rate_limits_are_not_waited_out_for_ever(runs: dict[str, AskedRun]) -> None:
    seen = await runs["limited for long"].seen()
    assert seen.status == "failed" and seen.error["causes"][0]["kind"] == "rate_limit"
    assert seen.run["total_duration"] >= 0.5 and seen.steps[0]["attempt"] > 1


def delays(seen: Seen) -> list[float]:
    """Seconds that the run's retries were put off, in microseconds' precision."""
    put_off = [e for e in seen.events if e["type"] == "StepRetryScheduled"]
    return [(datetime.fromisoformat(e["data"]["due_at"]) - e["recorded_at"]).total_seconds() for e in put_off]


async def test_backoff_is_exponential_bounded_and_derived_from_the_step(runs: dict[str, AskedRun]) -> None:
    first, again = [delays(await runs[name].seen()) for name in ("backoff", "backoff again")]
    assert first == again and len(set(first)) == 5, "full jitter, the same in every schedule"
    assert all(0 <= delay < bound for delay, bound in zip(first, [0.1, 0.2, 0.3, 0.3, 0.3], strict=True))


async def test_an_attempt_that_succeeds_leaves_no_error_behind(runs: dict[str, AskedRun]) -> None:
    seen = await runs["recovered"].seen()
    (step,) = seen.steps
    assert (seen.result, step["attempt"], step["status"], step["error"]) == (3, 3, "completed", None)
    assert [r["step_id"] for r in seen.recorded("StepRequested")] == ["b0#1"] * 3


async def test_a_terminal_error_in_a_fork_is_for_its_policy_to_judge(runs: dict[str, AskedRun]) -> None:
    strict, lenient = await runs["in a fork"].seen(), await runs["in a lenient fork"].seen()
    assert strict.status == "failed" and strict.statuses("W1") == ["failed"]
    assert [(c["agent"], c["type"]) for c in strict.error["causes"]] == [("W1", "TerminalError")]
    assert lenient.status == "completed" and [r["status"] for r in lenient.result] == ["failed", "completed"]
    assert lenient.result[0]["error"]["message"] in lenient.branches[1]["error"]["message"]


async def test_the_step_of_a_lost_worker_is_delivered_again(scripted_house: Stage) -> None:
    run, worker = await scripted_house.ask(**ALONE), scripted_house.house.workers[0]
    waiting = await run.begun("A")
    worker.kill()
    await waiting.gone()
    worker.start()
    waiting = await run.begun("A")
    assert (waiting.step_id, waiting.attempt) == ("b0#1", 1), "the same attempt"
    waiting.go("found")
    seen = await run.seen()
    assert seen.result == "found" and len(seen.recorded("StepRequested")) == 1
    assert seen.steps[0]["worker"].endswith(f"-{worker.process.pid}")  # type: ignore[union-attr]


async def test_a_step_that_kills_its_workers_is_poison(scripted_house: Stage) -> None:
    """After so many deliveries it fails, and the run goes on: by its policy, or by a person's word."""
    worker = scripted_house.house.workers[0]
    in_fork = await scripted_house.ask(**PROCEEDING)
    await in_fork.recorded("StepCompleted", 2)  # Boss and W2, which is not to be lost with the other
    for _ in range(DELIVERIES):
        assert (await in_fork.begun("W1")).attempt == 1
        worker.kill()
        worker.start()
    seen = await in_fork.seen()
    assert [(r["agent"], r["status"]) for r in seen.result] == [("W1", "failed"), ("W2", "completed")]
    assert (seen.result[0]["error"]["kind"], seen.result[0]["error"]["type"]) == ("poison", "Poison")
    assert seen.of("W1")[0]["error"]["message"] == f"{DELIVERIES} workers were lost with this step"
    with_user = await scripted_house.ask(**ASKING)
    for _ in range(DELIVERIES):
        assert (await with_user.begun("A")).attempt == 1
        worker.kill()
        worker.start()
    question = await with_user.question("error")
    assert question["prompt"]["error"]["kind"] == "poison"
    await with_user.answer(question, "retry")
    waiting = await with_user.begun("A")
    assert waiting.attempt == 2, "another attempt, so delivered for the first time"
    waiting.go({"next_action": "final_response", "final_response": "harmless now"})
    assert (await with_user.seen()).result == "harmless now"


async def test_of_two_results_of_one_attempt_the_first_wins(scripted_house: Stage) -> None:
    run = await scripted_house.ask(**ALONE)
    waiting = await run.begun("A")
    usage = {"input_tokens": 1, "output_tokens": 2, "cost": 0.5}
    await run.result("step.completed", "b0#1", 1, response="first", worker="another", usage=usage)
    await run.outcome()
    waiting.go({"usage": {"input_tokens": 30, "output_tokens": 40}, "then": "second"})
    (discarded,) = await run.recorded("StepResultDiscarded")
    assert discarded["usage"] == {"input_tokens": 30, "output_tokens": 40, "cost": None}, "its cost is visible"
    assert discarded["worker"].endswith(f"-{scripted_house.house.workers[0].process.pid}")  # type: ignore[union-attr]
    assert (discarded["step_id"], discarded["attempt"], discarded["reason"]) == ("b0#1", 1, "run is completed")
    seen = await run.seen()
    (step,) = seen.steps
    assert (seen.result, step["response"], step["worker"]) == ("first", "first", "another")
    assert (step["input_tokens"], step["output_tokens"], float(step["cost"])) == (1, 2, 0.5)


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("step.completed", {"response": "late"}),
        ("step.failed", {"error": {"kind": "terminal", "type": "Late", "message": "late"}}),
    ],
)
async def test_a_result_of_an_older_attempt_is_recorded_and_changes_nothing(
    scripted_house: Stage, key: str, fields: JSON
) -> None:
    run = await scripted_house.ask(**SECOND)
    waiting = await run.begun("A")
    assert waiting.attempt == 2
    await run.result(key, "b0#1", 1, **fields)
    (discarded,) = await run.recorded("StepResultDiscarded")
    assert (discarded["attempt"], discarded["reason"]) == (1, "not the attempt that is waited for")
    assert [(s["status"], s["attempt"]) for s in await run.rows("steps")] == [("requested", 2)]
    waiting.go("in time")
    seen = await run.seen()
    assert (seen.result, seen.steps[0]["attempt"], seen.steps[0]["response"]) == ("in time", 2, "in time")


async def test_a_result_that_comes_again_changes_nothing(scripted_house: Stage) -> None:
    run = await scripted_house.ask(**LAST)
    waiting = await run.begun("B")
    await run.result("step.completed", "b0#1", 1, response="another")
    await run.recorded("StepResultDiscarded")
    waiting.go("$request")
    seen = await run.seen()
    assert seen.result == "A" == seen.of("A")[0]["response"] and len(seen.steps) == 2


async def test_a_result_of_a_cancelled_branch_is_discarded(scripted_house: Stage) -> None:
    run = await scripted_house.ask(**BOTH)
    unwanted, wanted = await run.begun("W1"), await run.begun("W2")
    assert (await run.tell("run.cancel", branch_id="b0.f1.b0", reason="not needed"))["accepted"]
    await unwanted.gone()
    await run.result("step.completed", "b0.f1.b0#1", 1, response="late", usage={"cost": 7})
    (discarded,) = await run.recorded("StepResultDiscarded")
    assert (discarded["branch_id"], discarded["usage"]["cost"]) == ("b0.f1.b0", 7)
    wanted.go("in time")
    seen = await run.seen()
    assert [(r["agent"], r["status"]) for r in seen.result] == [("W1", "cancelled"), ("W2", "completed")]
    assert seen.statuses("W1") == ["cancelled"] and [s["status"] for s in seen.of("W1")] == ["cancelled"]


async def test_a_result_for_a_cancelled_run_is_discarded(scripted_house: Stage) -> None:
    run = await scripted_house.ask(**ALONE)
    waiting = await run.begun("A")
    assert (await run.tell("run.cancel", reason="enough"))["accepted"]
    assert (await run.outcome())["error"] == {"kind": "cancelled", "type": "Cancelled", "message": "enough"}
    await waiting.gone()
    await run.result("step.completed", "b0#1", 1, response="late")
    (discarded,) = await run.recorded("StepResultDiscarded")
    assert discarded["reason"] == "run is cancelled"
    seen = await run.seen()
    assert seen.status == "cancelled" and seen.steps[0]["status"] == "cancelled"
