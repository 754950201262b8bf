"""Semantics 3, row by row, from outside: what an agent may answer, and what becomes of it."""

from datetime import datetime
from typing import Any

import pytest

from tests.acceptance.stage import AskedRun

JSON = Any
pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = {"nodes": ["A"]}
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}
CHOICE = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"]}
TEAM = {"nodes": ["Boss", "W1", "W2"], "edges": ["Boss -> W1", "Boss -> W2"]}
FINAL = {"next_action": "final_response", "final_response": "$request"}
TELLING = {"next_action": "final_response", "final_response": "$context"}
STEERED = {"next_action": "final_response", "final_response": "$steering"}
RED = {"colour": "red"}


def dispatching(*more: str) -> JSON:
    """A team whose boss sends content to everybody at once."""
    return {**TEAM, "nodes": [{"name": "Boss", "dispatch": "all"}, "W1", "W2"], "edges": [*TEAM["edges"], *more]}


INVOKE: dict[str, tuple[JSON, JSON]] = {
    "a name": ({"action_input": "B"}, None),
    "a name and a request": ({"action_input": "B", "request": [1]}, [1]),
    "a name and content": ({"action_input": "B", "content": "c"}, "c"),
    "a name, a request and content": ({"action_input": "B", "request": "r", "content": "c"}, "r"),
    "agent": ({"action_input": {"agent": "B", "request": {"x": 1}}}, {"x": 1}),
    "agent_name": ({"action_input": {"agent_name": "B", "request": "r"}}, "r"),
    "agent without a request": ({"action_input": {"agent": "B"}, "content": "c"}, "c"),
}
PARALLEL: dict[str, tuple[JSON, list[tuple[str, JSON]]]] = {
    "agents": ({"agents": ["W1", "W2"]}, [("W1", None), ("W2", None)]),
    "agents and their requests": (
        {"agents": ["W2", "W1"], "agent_requests": {"W1": "one", "W2": "two"}},
        [("W2", "two"), ("W1", "one")],
    ),
    "a request for all but one": (
        {"agents": ["W1", "W2"], "agent_requests": {"W2": "two"}, "request": "all"},
        [("W1", "all"), ("W2", "two")],
    ),
    "map over data": (
        {"invocations": [{"agent": "W1", "request": n} for n in range(5)]},
        [("W1", n) for n in range(5)],
    ),
    "invocations by agent_name": (
        {"invocations": [{"agent_name": "W1", "request": 1}, {"agent": "W2"}]},
        [("W1", 1), ("W2", None)],
    ),
}
SPELLINGS = ("final_response", "content", "response")
CONTENT: list[JSON] = ["", "text", 0, 1.5, True, None, [], [1, [2]], {}, {"any": {"json": None}}]
FORBIDDEN: dict[str, tuple[JSON, JSON, str]] = {
    "no edge leads there": (CHAIN, {"action_input": "A"}, "A may not invoke A. A may invoke: B."),
    "nobody has that name": (CHOICE, {"action_input": "Z"}, "A may not invoke Z. A may invoke: B, C."),
    "one of several": (
        {**CHOICE, "edges": ["A -> B", "B -> C"]},
        {"next_action": "parallel_invoke", "agents": ["B", "C"]},
        "A may not invoke C. A may invoke: B.",
    ),
    "End, without an edge": (CHAIN, {"action_input": "End"}, "A may not invoke End."),
    "User, without an edge": (CHAIN, {"action_input": "User"}, "A may not invoke User."),
    "nobody may be invoked": (ONE, {"action_input": "A"}, "nobody: answer with final content"),
    "the condition of the edge does not hold": (
        {"nodes": ["A", "B"], "edges": [{"source": "A", "target": "B", "condition": "1 > 2"}]},
        {"action_input": "B"},
        "The condition of the edge to B does not hold now.",
    ),
}
MALFORMED: dict[str, tuple[JSON, str]] = {
    "an action nobody knows": ({"next_action": "dance"}, "'dance' is not one of invoke_agent, parallel_invoke,"),
    "an action that is no text": ({"next_action": 5}, "'5' is not one of"),
    "no action at all": ({"next_action": None}, "'None' is not one of"),
    "nobody to invoke": ({"next_action": "invoke_agent"}, "needs `action_input`"),
    "a number to invoke": ({"next_action": "invoke_agent", "action_input": 7}, "needs `action_input`"),
    "agents is no list": ({"next_action": "parallel_invoke", "agents": "B"}, "needs `agents`"),
    "agents is empty": ({"next_action": "parallel_invoke", "agents": []}, "names no agent"),
    "agent_requests is a list": (
        {"next_action": "parallel_invoke", "agents": ["B"], "agent_requests": ["r"]},
        "agent_requests must be an object",
    ),
    "invocations of nobody": ({"next_action": "parallel_invoke", "invocations": [{"request": 1}]}, "{agent, request}"),
    "a policy that cannot be": (
        {"next_action": "parallel_invoke", "agents": ["B"], "convergence": {"min_ratio": 2}},
        "convergence.min_ratio",
    ),
    "no final value": ({"next_action": "final_response"}, "needs the field `final_response`"),
    "no prompt": ({"next_action": "ask_user"}, "needs `prompt`"),
    "no choices": ({"next_action": "ask_user", "prompt": "?", "choices": []}, "choices must be a list"),
    "a schema that is none": ({"next_action": "ask_user", "prompt": "?", "schema": {"type": "odd"}}, "schema"),
    "no seconds": ({"next_action": "retry_later"}, "needs `after_seconds`"),
    "seconds in the past": ({"next_action": "retry_later", "after_seconds": -1}, "needs `after_seconds`"),
    "context_updates is a list": (
        {"next_action": "final_response", "final_response": 1, "context_updates": [1]},
        "context_updates must be an object",
    ),
}


def steered(reply: JSON) -> JSON:
    """An agent that answers wrongly once, and then with what it was told about that."""
    return {"A": [[reply, STEERED]]}


def asking(**more: JSON) -> JSON:
    """An agent that asks a person, and is done with the answer."""
    return {"A": [{"next_action": "ask_user", "prompt": "Which?", **more}, FINAL]}


CASES: dict[str, JSON] = {
    **{
        f"invoke, {name}": {"topology": CHOICE, "script": {"A": [{"next_action": "invoke_agent", **fields}]}}
        for name, (fields, _) in INVOKE.items()
    },
    **{
        f"parallel, {name}": {
            "topology": TEAM,
            "script": {
                "Boss": [{"next_action": "parallel_invoke", **fields}, FINAL],
                "W1": ["$request"],
                "W2": ["$request"],
            },
        }
        for name, (fields, _) in PARALLEL.items()
    },
    **{
        f"final, {name}": {"topology": CHAIN, "script": {"A": [{"next_action": "final_response", name: [1, 2]}]}}
        for name in SPELLINGS
    },
    **{f"content {n}": {"topology": ONE, "script": {"A": [{"reply": value}]}} for n, value in enumerate(CONTENT)},
    **{
        f"forbidden, {name}": {"topology": topology, "script": steered({"next_action": "invoke_agent", **reply})}
        for name, (topology, reply, _) in FORBIDDEN.items()
    },
    **{f"malformed, {name}": {"topology": CHAIN, "script": steered(reply)} for name, (reply, _) in MALFORMED.items()},
    "ask": {"topology": ONE, "script": asking()},
    "ask, choices": {"topology": ONE, "script": asking(choices=["red", "blue"])},
    "ask, schema": {"topology": ONE, "script": asking(schema={"type": "integer", "minimum": 1})},
    "ask, default": {"topology": ONE, "script": asking(timeout=0, default="red")},
    "later": {
        "topology": ONE,
        "script": {"A": [[{"next_action": "retry_later", "after_seconds": 1}] * 2 + ["$attempt"]]},
        "config": {"retry": {"max_attempts": 1}},
    },
    "recovery": {"topology": ONE, "script": {"A": [{"next_action": "error_recovery", "error": "lost my keys"}]}},
    "terminal": {"topology": ONE, "script": {"A": [{"next_action": "terminal_error", "error": "gave up"}]}},
    "updates, invoke_agent": {
        "topology": CHAIN,
        "script": {
            "A": [{"next_action": "invoke_agent", "action_input": "B", "context_updates": RED}],
            "B": ["$context"],
        },
    },
    "updates, parallel_invoke": {
        "topology": TEAM,
        "script": {
            "Boss": [
                {"next_action": "parallel_invoke", "agents": ["W1", "W2"], "context_updates": RED},
                {"next_action": "final_response", "final_response": ["$request", "$context"]},
            ],
            "W1": [{"next_action": "final_response", "final_response": 1, "context_updates": {"colour": "blue"}}],
            "W2": ["$context"],
        },
    },
    "updates, ask_user": {
        "topology": ONE,
        "script": {
            "A": [
                {"next_action": "ask_user", "prompt": "?", "timeout": 0, "context_updates": RED},
                TELLING,
            ]
        },
    },
    "updates, retry_later": {
        "topology": ONE,
        "script": {"A": [[{"next_action": "retry_later", "after_seconds": 0, "context_updates": RED}, TELLING]]},
    },
    "updates, error_recovery": {
        "topology": {"nodes": ["A"], "edges": ["A <-> User"]},
        "script": {"A": [[{"next_action": "error_recovery", "error": "?", "context_updates": RED}, TELLING]]},
    },
    "one successor": {"topology": CHAIN, "script": {"A": [{"some": "content"}], "B": ["$request"]}},
    "one successor and User": {"topology": {**CHAIN, "edges": ["A -> B", "A <-> User"]}, "script": {"B": ["$request"]}},
    "User alone": {
        "topology": {"nodes": ["A"], "edges": ["A <-> User"]},
        "script": {"A": ["Which?", FINAL]},
    },
    "End": {"topology": {"nodes": ["A"], "edges": ["A -> End"]}},
    "dispatch": {"topology": dispatching(), "script": {"Boss": ["work", "$request"], "W1": ["$request"]}},
    "dispatch, then User": {"topology": dispatching("Boss <-> User"), "script": {"Boss": ["work", "Well?", FINAL]}},
    "several": {"topology": CHOICE, "script": steered("content")},
}


@pytest.mark.parametrize("name", INVOKE)
async def test_invoke_agent_moves_to_one_agent(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"invoke, {name}"].seen()
    assert (seen.status, seen.result) == ("completed", "B")
    first, second = seen.steps
    assert (first["agent"], first["action"], second["agent"], second["action"]) == ("A", "invoke_agent", "B", "content")
    assert second["request"] == INVOKE[name][1] and second["attempt"] == 1
    assert [(b["branch_id"], b["type"], b["status"]) for b in seen.branches] == [("b0", "simple", "completed")]


@pytest.mark.parametrize("name", PARALLEL)
async def test_parallel_invoke_opens_a_fork_whose_records_come_back_in_tree_order(
    runs: dict[str, AskedRun], name: str
) -> None:
    seen = await runs[f"parallel, {name}"].seen()
    places = {f"b0.f1.b{i}": invoked for i, invoked in enumerate(PARALLEL[name][1])}
    assert seen.result == [
        {"agent": agent, "branch_id": place, "status": "completed", "result": request}
        for place, (agent, request) in places.items()
    ]
    boss, *children = seen.branches
    assert (boss["branch_id"], boss["type"], boss["parent_branch_id"]) == ("b0", "nested", None)
    assert {c["branch_id"]: (c["agent"], c["result"]) for c in children} == places
    assert {(c["parent_branch_id"], c["type"], c["status"]) for c in children} == {("b0", "simple", "completed")}
    assert {s["branch_id"]: (s["agent"], s["request"]) for s in seen.steps if s["branch_id"] != "b0"} == places
    (fork,) = seen.convergences
    assert (fork["kind"], fork["node"], fork["status"], fork["into_branch_id"]) == ("fork", "Boss", "fired", "b0")
    assert (fork["expected"], fork["arrived"], fork["failed"]) == (len(places), len(places), 0)
    assert seen.of("Boss")[0]["action"] == "parallel_invoke" and seen.of("Boss")[1]["request"] == seen.result
    assert seen.run["branch_count"] == 1 + len(places) and 1 <= seen.run["parallel_branches"] <= len(places)


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_final_response_ends_the_branch_and_delivers_its_value(runs: dict[str, AskedRun], spelling: str) -> None:
    seen = await runs[f"final, {spelling}"].seen()
    assert (seen.status, seen.result, seen.run["result_count"]) == ("completed", [1, 2], 1)
    assert [(s["agent"], s["action"]) for s in seen.steps] == [("A", "final_response")]


async def test_ask_user_waits_for_a_person_and_the_answer_returns_to_who_asked(runs: dict[str, AskedRun]) -> None:
    run = runs["ask"]
    question = await run.question()
    assert (question["agent"], question["branch_id"], question["prompt"]) == ("A", "b0", "Which?")
    (asked,), (branch,), (step,) = [await run.rows(r) for r in ("user_requests", "branches", "steps")]
    assert (await run.row())["status"] == branch["status"] == "waiting"
    assert str(asked["request_id"]) == question["request_id"] and asked["status"] == "open"
    assert (step["status"], step["action"]) == ("completed", "ask_user"), "no worker is held"
    assert await run.answer(question, {"the": "answer"}) == {"run_id": run.id, "accepted": True}
    seen = await run.seen()
    assert seen.result == {"the": "answer"} == seen.of("A")[1]["request"] == seen.user_requests[0]["value"]
    assert (seen.user_requests[0]["status"], seen.branches[0]["type"]) == ("answered", "user_interaction")


@pytest.mark.parametrize(
    ("name", "wrong", "reason", "right"),
    [("ask, choices", "green", "is not one of", "blue"), ("ask, schema", 0, "does not fit its schema", 3)],
)
async def test_an_answer_that_does_not_fit_is_refused_and_the_request_stays_open(
    runs: dict[str, AskedRun], name: str, wrong: JSON, reason: str, right: JSON
) -> None:
    run = runs[name]
    question = await run.question()
    refused = await run.answer(question, wrong)
    assert not refused["accepted"] and reason in refused["reason"]
    assert [r["status"] for r in await run.rows("user_requests")] == ["open"]
    assert (await run.answer(question, right))["accepted"]
    seen = await run.seen()
    assert seen.result == right and len(seen.recorded("UserInputProvided")) == 1
    row = seen.user_requests[0]
    assert {"choices": row["choices"], "schema": row["schema"]} == {
        "choices": question.get("choices"),
        "schema": question.get("schema"),
    }


async def test_a_question_with_a_default_answers_itself_when_its_time_is_up(runs: dict[str, AskedRun]) -> None:
    seen = await runs["ask, default"].seen()
    assert seen.result == "red" and seen.user_requests[0]["status"] == "answered"
    assert [p["by"] for p in seen.recorded("UserInputProvided")] == ["timeout"]


async def test_retry_later_asks_the_same_step_again_when_the_time_has_come(runs: dict[str, AskedRun]) -> None:
    seen = await runs["later"].seen()
    assert seen.result == 3, "it is no failure, so one attempt of a failing step is enough"
    (step,) = seen.steps
    assert (step["attempt"], step["step_id"], seen.run["total_steps"]) == (3, "b0#1", 1)
    asked = [event["recorded_at"] for event in seen.events if event["type"] == "StepRequested"]
    due = [datetime.fromisoformat(s["due_at"]) for s in seen.recorded("StepRetryScheduled")]
    assert all(b >= at and (b - a).total_seconds() >= 1 for a, b, at in zip(asked, asked[1:], due, strict=False))


@pytest.mark.parametrize(
    ("name", "kind", "type_", "message"),
    [
        ("recovery", "recoverable", "ErrorRecovery", "lost my keys"),
        ("terminal", "terminal", "TerminalError", "gave up"),
    ],
)
async def test_an_agent_may_say_that_it_failed(
    runs: dict[str, AskedRun], name: str, kind: str, type_: str, message: str
) -> None:
    """Nobody can be asked here; test_error_rows.py asks."""
    seen = await runs[name].seen()
    (cause,) = seen.error["causes"]
    assert seen.status == "failed" and message in seen.error["message"]
    assert (cause["kind"], cause["type"], cause["agent"], cause["branch_id"]) == (kind, type_, "A", "b0")
    (branch,) = seen.branches
    assert (branch["status"], branch["error"]["kind"]) == ("failed", kind) and message in branch["error"]["message"]
    assert seen.steps[0]["attempt"] == 1


async def test_context_updates_reach_the_next_agent(runs: dict[str, AskedRun]) -> None:
    seen = await runs["updates, invoke_agent"].seen()
    assert seen.result["colour"] == "red" and seen.result["step_number"] == 2


async def test_a_fork_hands_the_context_down_and_arrivals_do_not_overwrite_it(runs: dict[str, AskedRun]) -> None:
    records, context = (await runs["updates, parallel_invoke"].seen()).result
    assert records[0]["result"] == 1 and records[1]["result"]["colour"] == "red"
    assert context["colour"] == "red"


@pytest.mark.parametrize("action", ["ask_user", "retry_later", "error_recovery"])
async def test_context_updates_outlast_an_interruption(runs: dict[str, AskedRun], action: str) -> None:
    run = runs[f"updates, {action}"]
    if action == "error_recovery":
        await run.answer(await run.question("error"), "retry")
    assert (await run.seen()).result["colour"] == "red"


@pytest.mark.parametrize("number", range(len(CONTENT)), ids=repr)
async def test_any_other_json_is_content_and_final_where_nobody_follows(runs: dict[str, AskedRun], number: int) -> None:
    seen = await runs[f"content {number}"].seen()
    assert (seen.status, seen.result) == ("completed", CONTENT[number])
    assert (seen.steps[0]["action"], seen.steps[0]["response"]) == ("content", CONTENT[number])
    assert seen.branches[0]["result"] == CONTENT[number] and seen.run["result_count"] == 1


async def test_content_goes_to_the_one_successor(runs: dict[str, AskedRun]) -> None:
    assert (await runs["one successor"].seen()).result == {"some": "content"}


async def test_content_reaches_end(runs: dict[str, AskedRun]) -> None:
    seen = await runs["End"].seen()
    assert seen.result == "A" and [d["value"] for d in seen.recorded("ResultDelivered")] == ["A"]


async def test_a_person_does_not_count_as_a_successor_beside_an_agent(runs: dict[str, AskedRun]) -> None:
    seen = await runs["one successor and User"].seen()
    assert seen.result == "A" and seen.user_requests == []


async def test_content_for_a_person_alone_is_a_question(runs: dict[str, AskedRun]) -> None:
    run = runs["User alone"]
    question = await run.question()
    assert question["prompt"] == "Which?"
    await run.answer(question, "this")
    seen = await run.seen()
    assert seen.result == "this" and [s["agent"] for s in seen.steps] == ["A", "A"]


async def test_content_of_a_dispatching_node_forks_and_when_it_is_back_is_final(runs: dict[str, AskedRun]) -> None:
    seen = await runs["dispatch"].seen()
    assert [(r["agent"], r["result"]) for r in seen.result] == [("W1", "work"), ("W2", "W2")]
    assert [s["action"] for s in seen.of("Boss")] == ["content", "content"]


async def test_content_after_a_dispatch_goes_to_whom_the_dispatch_left_out(runs: dict[str, AskedRun]) -> None:
    run = runs["dispatch, then User"]
    question = await run.question()
    assert question["prompt"] == "Well?" and len(await run.rows("branches")) == 3
    await run.answer(question, "good")
    assert (await run.seen()).result == "good"


async def test_content_with_several_ways_on_is_steered_to_choose(runs: dict[str, AskedRun]) -> None:
    seen = await runs["several"].seen()
    assert "did not choose" in seen.result and "B, C" in seen.result and seen.steps[0]["attempt"] == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((f"forbidden, {name}", said) for name, (_, _, said) in FORBIDDEN.items()),
        *((f"malformed, {name}", said) for name, (_, said) in MALFORMED.items()),
    ],
)
async def test_a_reply_that_cannot_be_followed_is_steered(runs: dict[str, AskedRun], name: str, said: str) -> None:
    """The agent is told what was wrong and what is allowed, and the run goes on."""
    seen = await runs[name].seen()
    assert seen.status == "completed" and said in seen.result
    (step,) = seen.steps
    assert (step["status"], step["attempt"], seen.run["total_steps"]) == ("completed", 2, 1)
    (rejected,) = seen.recorded("StepRejected")
    assert rejected["reason"] == seen.result and rejected["response"] == CASES[name]["script"]["A"][0][0]
    assert [r["steering"] for r in seen.recorded("StepRequested")] == [None, seen.result]
