"""Semantics 10, the rules, one by one and in each of their written forms, from outside."""

from typing import Any

import pytest

from tests.acceptance.stage import AskedRun, Seen, Stage

JSON = Any
pytestmark = pytest.mark.asyncio(loop_scope="module")

GATE = {"wait_for": "gate"}
NEVER = {"wait_for": "never"}
FINAL = {"next_action": "final_response", "final_response": "$request"}
TO_B = {"next_action": "invoke_agent", "action_input": "B"}
TO_C = {"next_action": "invoke_agent", "action_input": "C"}
DANCE = {"next_action": "dance"}
FORK = {"next_action": "parallel_invoke", "agents": ["W1", "W2"]}
MAP = {"next_action": "parallel_invoke", "invocations": [{"agent": "W1", "request": n} for n in range(5)]}


def one(*rules: JSON) -> JSON:
    """An agent alone."""
    return {"nodes": ["A"], "rules": list(rules)}


def loop(*rules: JSON) -> JSON:
    """An agent that would go on for ever."""
    return {"nodes": ["A"], "edges": ["A -> A"], "rules": list(rules)}


def chain(*rules: JSON) -> JSON:
    return {"nodes": ["A", "B"], "edges": ["A -> B"], "rules": list(rules)}


def talk(*rules: JSON) -> JSON:
    """Two agents that would talk for ever."""
    return {"nodes": ["A", "B"], "edges": ["A <-> B"], "rules": list(rules)}


def team(*rules: JSON) -> JSON:
    return {"nodes": ["Boss", "W1", "W2"], "edges": ["Boss -> W1", "Boss -> W2"], "rules": list(rules)}


def when(condition: str, action: str) -> JSON:
    return {"type": "ConditionalRule", "condition": condition, "action": action}


ENDING: dict[str, tuple[str, str, JSON]] = {
    "TimeoutRule": (
        "TimeoutRule",
        "longer than 1 s",
        {"topology": one({"type": "TimeoutRule", "max_duration_seconds": 1}), "script": {"A": [NEVER]}},
    ),
    "timeout(1)": ("TimeoutRule", "longer than 1 s", {"topology": one("timeout(1)"), "script": {"A": [NEVER]}}),
    "run_timeout": (
        "TimeoutRule",
        "longer than 1 s",
        {"topology": one(), "config": {"run_timeout": 1}, "script": {"A": [NEVER]}},
    ),
    "MaxStepsRule": (
        "MaxStepsRule",
        "max_steps = 3",
        {"topology": loop({"type": "MaxStepsRule", "max_steps": 3}), "config": {"max_steps": 4}},
    ),
    "max_steps(3)": ("MaxStepsRule", "max_steps = 3", {"topology": loop("max_steps(3)", "max_steps(9)")}),
    "max_steps": ("MaxStepsRule", "max_steps = 3", {"topology": loop(), "config": {"max_steps": 3}}),
    "MaxBranchesRule": (
        "MaxBranchesRule",
        "max_branches = 5",
        {"topology": team({"type": "MaxBranchesRule", "max_branches": 5}), "script": {"Boss": [MAP]}},
    ),
    "max_branches(5)": (
        "MaxBranchesRule",
        "max_branches = 5",
        {"topology": team("max_branches(5)"), "script": {"Boss": [MAP]}},
    ),
    "BudgetRule of tokens": (
        "BudgetRule",
        "30 tokens were used, max_tokens = 29",
        {
            "topology": loop({"type": "BudgetRule", "max_tokens": 29}),
            "script": {"A": [{"usage": {"input_tokens": 7, "output_tokens": 3}, "then": "on"}]},
        },
    ),
    "BudgetRule of cost": (
        "BudgetRule",
        "0.3 was spent, max_cost = 0.25",
        {
            "topology": loop({"type": "BudgetRule", "max_cost": 0.25}),
            "script": {"A": [{"usage": {"cost": 0.1}, "then": "on"}]},
        },
    ),
    "BudgetRule, spent on what is no use": (
        "BudgetRule",
        "20 tokens were used, max_tokens = 15",
        {
            "topology": one({"type": "BudgetRule", "max_tokens": 15}),
            "script": {
                "A": [[{"usage": {"output_tokens": 10}, "then": no_use} for no_use in ({"raise": "Odd"}, DANCE)]]
            },
            "config": {"retry": {"base_delay": 0}},
        },
    ),
}
WITHIN: dict[str, JSON] = {
    "in time": {"topology": one("timeout(600)"), "config": {"run_timeout": 600}},
    "as many steps as allowed": {"topology": chain("max_steps(2)"), "config": {"max_steps": 2, "max_branch_steps": 2}},
    "as many branches as allowed": {"topology": team("max_branches(6)"), "script": {"Boss": [MAP, FINAL]}},
    "as many agents as allowed": {"topology": {**chain("max_agents(2)"), "edges": ["A -> B", "A <-> User"]}},
    "as much as the budget allows": {
        "topology": chain({"type": "BudgetRule", "max_tokens": 20, "max_cost": 0.3}),
        "script": {n: [{"usage": {"input_tokens": 10, "cost": 0.15}, "then": n}] for n in ("A", "B")},
    },
    "allow": {"topology": chain(when("context.priority == 'high'", "allow")), "context": {"priority": "high"}},
    "no rule's case": {
        "topology": chain(*(when("1 > 2", action) for action in ("block", "terminate", "pause", "notify_user")))
    },
    "a condition that cannot be evaluated": {"topology": chain(when("context.nobody.knows", "block"))},
}
TURNS: dict[str, tuple[JSON, int]] = {
    "max_turns(2)": ("max_turns(2)", 2),
    "max_turns(A <-> B, 1)": ("max_turns(A <-> B, 1)", 1),
    "MaxTurnsRule": ({"type": "MaxTurnsRule", "max_turns": 3}, 3),
    "MaxTurnsRule of two": ({"type": "MaxTurnsRule", "max_turns": 1, "agents": ["B", "A"]}, 1),
}
MEMORY: dict[str, tuple[JSON, JSON, list[int]]] = {
    "MemoryLimitRule": ({"rules": [{"type": "MemoryLimitRule", "max_messages": 3}]}, {}, [0, 2, 3, 3]),
    "max_messages(2)": ({"rules": ["max_messages(2)"]}, {}, [0, 2, 2, 2]),
    "memory_limit(0)": ({"rules": ["memory_limit(0)"]}, {}, [0, 0, 0, 0]),
    "max_messages of the run": ({}, {"max_messages": 4}, [0, 2, 4, 4]),
    "the narrowest of several": ({"rules": ["max_messages(5)"]}, {"max_messages": 3}, [0, 2, 3, 3]),
    "max_messages of a node": ({"nodes": [{"name": "A", "memory": {"max_messages": 1}}, "B"]}, {}, [0, 1, 1, 1]),
    "single_step": ({"nodes": [{"name": "A", "memory": {"retention": "single_step"}}, "B"]}, {}, [0, 2, 2, 2]),
    "none": ({"nodes": [{"name": "A", "memory": {"retention": "none"}}, "B"]}, {}, [0, 0, 0, 0]),
    "no limit is reached": ({}, {}, [0, 2, 4, 6]),
}
TRUE_BEFORE_B = [
    "run.total_steps == 1 && run.branch_count == 1",
    "run.tokens == 5 && run.cost > 0.1",
    "branch.agent == 'A' && branch.steps == 1 && branch.id == 'b0' && branch.type == 'simple'",
    "step.agent == 'B' && step.number == 2 && step.request == 'A'",
    "context.priority == 'high' && context.said == 'A'",
]
STOPPING = [("allow", "1 > 2"), ("block", "step.agent == 'B'"), ("terminate", "step.agent == 'B'")]
SAYING = {
    "usage": {"input_tokens": 2, "output_tokens": 3, "cost": 0.2},
    "then": {**TO_B, "request": "A", "context_updates": {"said": "A"}},
}
ROADS = {
    "nodes": ["A", "B", "C"],
    "edges": [
        {"source": "A", "target": "B", "condition": "step.response == 'b' || context.way == 'b'"},
        {"source": "A", "target": "C", "condition": "step.response == 'c'"},
    ],
}
FORBIDDEN: dict[str, tuple[JSON, str]] = {
    "too many agents": (chain("max_agents(1)"), "MaxAgentsRule: 2 agents, max_agents = 1"),
    "too many agents, as an object": (chain({"type": "MaxAgentsRule", "max_agents": 1}), "MaxAgentsRule"),
    "no CEL": (chain(when("step.agent ==", "block")), "ConditionalRule 0: condition is no CEL expression"),
    "a Python callable": (chain(when("python:m.f:0", "block")), "a Python condition cannot cross a wire"),
    "an edge with a Python callable": (
        {"nodes": ["A", "B"], "edges": [{"source": "A", "target": "B", "condition": "python:m.f:0"}]},
        "edge A -> B: condition a Python condition cannot cross a wire",
    ),
}

CASES: dict[str, JSON] = {
    **{f"ending, {name}": case for name, (_, _, case) in ENDING.items()},
    **{f"within, {name}": case for name, case in WITHIN.items()},
    **{f"turns, {name}": {"topology": talk(r), "script": {"A": ["$step_number"]}} for name, (r, _) in TURNS.items()},
    **{
        f"memory, {name}": {
            "topology": {**talk(), **topology, "rules": [*topology.get("rules", []), "max_turns(3)"]},
            "config": config,
            "script": {"A": [{"reply": "$memory"}]},
        }
        for name, (topology, config, _) in MEMORY.items()
    },
    **{
        f"true {n}": {
            "topology": chain(when(condition, "terminate")),
            "script": {"A": [SAYING]},
            "context": {"priority": "high"},
        }
        for n, condition in enumerate(TRUE_BEFORE_B)
    },
    **{f"stop, {action}": {"topology": chain("max_steps(9)", when(c, action))} for action, c in STOPPING},
    **{f"rejected, {name}": {"topology": topology} for name, (topology, _) in FORBIDDEN.items()},
    "turns, fail": {"topology": talk({"type": "MaxTurnsRule", "max_turns": 1, "on_limit": "fail"})},
    "turns, others": {
        "topology": {"nodes": ["A", "B", "C"], "edges": ["A <-> B", "A <-> C"], "rules": ["max_turns(A <-> C, 1)"]},
        "script": {"A": [TO_B, TO_B, TO_B, FINAL]},
    },
    "turns, a person": {
        "topology": {"nodes": ["A"], "edges": ["A <-> User"], "rules": ["max_turns(A <-> User, 1)"]},
        "script": {"A": ["first", "last"]},
    },
    "patience": {
        "topology": one("timeout(4)"),
        "config": {"run_timeout": 4},
        "script": {"A": [{"next_action": "ask_user", "prompt": "?", "timeout": 5, "default": "late"}, FINAL]},
    },
    "branch steps": {
        "topology": {**team(), "edges": ["Boss -> W1", "Boss -> W2", "W1 -> W1"]},
        "script": {"Boss": [{**FORK, "convergence": {"on_insufficient": "proceed"}}, FINAL]},
        "config": {"max_branch_steps": 3},
    },
    "parallel": {
        "topology": team({"type": "MaxParallelBranchesRule", "max_parallel_branches": 2}),
        "script": {"Boss": [MAP, FINAL], "W1": [GATE]},
    },
    "parallel(2)": {"topology": team("max_parallel_branches(2)"), "script": {"Boss": [MAP, FINAL], "W1": ["$request"]}},
    "pause": {"topology": chain("max_steps(9)", when("step.agent == 'B'", "pause"))},
    "notify": {"topology": chain("max_steps(9)", when("run.total_steps >= 0", "notify_user"))},
    "road b": {"topology": ROADS, "script": {"A": ["b"]}},
    "road c": {"topology": ROADS, "script": {"A": [{**TO_C, "request": "c"}]}},
    "road by context": {"topology": ROADS, "script": {"A": [{**TO_B, "context_updates": {"way": "b"}}]}},
    "no road": {"topology": ROADS, "script": {"A": ["d"]}},
    "defaults": {"topology": one()},
}


def verdicts(seen: Seen) -> list[tuple[int, str, str]]:
    """Which rules spoke (their places in the topology's list), and what they said."""
    return [(v["rule"], v["type"], v["action"]) for v in seen.recorded("RuleApplied")]


@pytest.mark.parametrize("name", ENDING)
async def test_a_bound_that_is_passed_ends_the_run_and_names_the_rule(runs: dict[str, AskedRun], name: str) -> None:
    rule, said, case = ENDING[name]
    seen = await runs[f"ending, {name}"].seen()
    assert seen.status == "failed" and said in seen.error["message"]
    assert {**seen.error, "message": ""} == {"kind": "rule", "type": rule, "message": ""}
    declared = [r if isinstance(r, str) else r["type"] for r in case["topology"]["rules"]]
    place = 0 if declared else -1
    assert verdicts(seen) == [(place, rule, "terminate")]
    assert seen.recorded("RuleApplied")[0]["reason"] == seen.error["message"]


async def test_a_run_that_takes_too_long_is_cancelled_where_it_stands(runs: dict[str, AskedRun]) -> None:
    seen = await runs["ending, TimeoutRule"].seen()
    assert seen.outcome["metrics"]["total_duration"] >= 1
    assert seen.statuses("A") == ["cancelled"] and [s["status"] for s in seen.steps] == ["cancelled"]


@pytest.mark.parametrize("name", ["MaxStepsRule", "max_steps(3)", "max_steps"])
async def test_the_last_step_that_is_allowed_is_taken(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"ending, {name}"].seen()
    assert [s["status"] for s in seen.steps] == ["completed"] * 3 and seen.outcome["metrics"]["total_steps"] == 3


@pytest.mark.parametrize("name", ["MaxBranchesRule", "max_branches(5)"])
async def test_a_fork_that_is_too_wide_is_not_begun(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"ending, {name}"].seen()
    assert seen.run["branch_count"] == 1 and seen.of("W1") == []


async def test_consumption_is_stored_with_each_step_and_counts_for_each_attempt(runs: dict[str, AskedRun]) -> None:
    tokens, cost, lost = [await runs[f"ending, {n}"].seen() for n in ENDING if n.startswith("BudgetRule")]
    assert [(s["input_tokens"], s["output_tokens"], s["cost"]) for s in tokens.steps] == [(7, 3, None)] * 3
    assert [float(s["cost"]) for s in cost.steps] == [0.1] * 3 and lost.steps[0]["attempt"] == 2


@pytest.mark.parametrize("name", WITHIN)
async def test_a_rule_that_is_kept_says_nothing(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"within, {name}"].seen()
    assert seen.status == "completed" and verdicts(seen) == [] and seen.user_requests == []


async def test_every_run_is_bounded_by_default(runs: dict[str, AskedRun]) -> None:
    config = (await runs["defaults"].seen()).run["config"]
    assert (config["max_steps"], config["max_branch_steps"], config["max_messages"]) == (100_000, 1_000, 100)
    assert (config["run_timeout"], config["step_timeout"]) == (None, 600)


async def test_time_spent_waiting_for_people_does_not_count(runs: dict[str, AskedRun]) -> None:
    seen = await runs["patience"].seen()
    assert (seen.status, seen.result) == ("completed", "late") and seen.run["total_duration"] >= 5


async def test_a_branch_with_too_many_steps_fails_and_the_others_go_on(runs: dict[str, AskedRun]) -> None:
    seen = await runs["branch steps"].seen()
    assert [(r["agent"], r["status"]) for r in seen.result] == [("W1", "failed"), ("W2", "completed")]
    error = seen.result[0]["error"]
    assert error == seen.branches[1]["error"] and len(seen.of("W1")) == 3
    assert (error["kind"], error["type"]) == ("rule", "MaxBranchSteps") and "max_branch_steps = 3" in error["message"]


@pytest.mark.parametrize("name", TURNS)
async def test_a_conversation_ends_with_the_last_value_said(runs: dict[str, AskedRun], name: str) -> None:
    """A turn is there and back, so the one who began has the last word."""
    turns = TURNS[name][1]
    seen = await runs[f"turns, {name}"].seen()
    assert [s["agent"] for s in seen.steps] == ["A", "B"] * turns + ["A"]
    assert (seen.status, seen.result) == ("completed", 2 * turns + 1) and seen.branches[0]["type"] == "conversation"
    assert [v[1:] for v in verdicts(seen)] == [("MaxTurnsRule", "complete")]


async def test_a_conversation_may_fail_at_its_limit(runs: dict[str, AskedRun]) -> None:
    seen = await runs["turns, fail"].seen()
    (cause,) = seen.error["causes"]
    assert seen.status == "failed" and (cause["kind"], cause["type"]) == ("rule", "MaxTurnsRule")
    assert "A <-> B reached max_turns = 1" in cause["message"] and len(seen.steps) == 3
    assert [v[1:] for v in verdicts(seen)] == [("MaxTurnsRule", "fail")]


async def test_turns_of_one_conversation_do_not_bound_another(runs: dict[str, AskedRun]) -> None:
    seen = await runs["turns, others"].seen()
    assert [s["agent"] for s in seen.steps] == ["A", "B"] * 3 + ["A"] and verdicts(seen) == []


async def test_a_conversation_with_a_person_has_turns_too(runs: dict[str, AskedRun]) -> None:
    run = runs["turns, a person"]
    await run.answer(await run.question(), "and?")
    seen = await run.seen()
    assert seen.result == "last" and len(seen.user_requests) == 1


@pytest.mark.parametrize("name", MEMORY)
async def test_memory_is_bounded(runs: dict[str, AskedRun], name: str) -> None:
    """What travels with each step; the table `messages` keeps all that was said."""
    run = runs[f"memory, {name}"]
    seen = await run.seen()
    assert [len(s["response"]) for s in seen.of("A")] == MEMORY[name][2]
    assert all(s["response"][-1]["role"] == "assistant" for s in seen.of("A") if s["response"])
    said = [m for m in await run.rows("messages") if m["agent"] == "A"]
    assert [m["seq"] for m in said] == list(range(1, 9)) and [m["role"] for m in said] == ["user", "assistant"] * 4
    assert [m["content"] for m in said[1::2]] == [s["response"] for s in seen.of("A")]


async def test_children_too_many_to_run_at_once_wait_for_admission(
    runs: dict[str, AskedRun], scripted_house: Stage
) -> None:
    run = runs["parallel"]
    for admitted in range(1, 6):
        waiting = await run.begun("W1")
        children = [b["status"] for b in await run.rows("branches") if b["agent"] == "W1"]
        assert children.count("running") <= 2 and children.count("completed") <= admitted
        assert "pending" in children or admitted > 3
        waiting.go("$request")
    seen = await run.seen()
    assert [r["result"] for r in seen.result] == [0, 1, 2, 3, 4]
    assert seen.outcome["metrics"]["parallel_branches"] == 2 and verdicts(seen) == []


async def test_admission_by_the_written_form(runs: dict[str, AskedRun]) -> None:
    seen = await runs["parallel(2)"].seen()
    assert [r["result"] for r in seen.result] == [0, 1, 2, 3, 4] and seen.run["parallel_branches"] == 2


@pytest.mark.parametrize("number", range(len(TRUE_BEFORE_B)))
async def test_a_condition_sees_run_branch_step_and_context(runs: dict[str, AskedRun], number: int) -> None:
    seen = await runs[f"true {number}"].seen()
    assert seen.status == "failed" and [s["agent"] for s in seen.steps] == ["A"]
    assert TRUE_BEFORE_B[number] in seen.error["message"]


@pytest.mark.parametrize(("action", "condition"), STOPPING)
async def test_a_condition_may_end_the_run(runs: dict[str, AskedRun], action: str, condition: str) -> None:
    seen = await runs[f"stop, {action}"].seen()
    assert (seen.status, seen.error["kind"], seen.error["type"]) == ("failed", "rule", "ConditionalRule")
    assert condition in seen.error["message"] and verdicts(seen) == [(1, "ConditionalRule", action)]
    assert [s["agent"] for s in seen.steps] == ([] if action == "allow" else ["A"])
    assert [b["status"] for b in seen.branches] == ["cancelled"]


async def test_a_condition_may_pause_the_run_until_somebody_resumes_it(runs: dict[str, AskedRun]) -> None:
    run = runs["pause"]
    (paused,) = await run.recorded("RunPaused")
    assert "step.agent == 'B'" in paused["reason"] and (await run.row())["status"] == "paused"
    assert [s["agent"] for s in await run.rows("steps")] == ["A"]
    assert (await run.tell("run.resume"))["accepted"]
    seen = await run.seen()
    assert (seen.status, seen.result) == ("completed", "B") and verdicts(seen) == [(1, "ConditionalRule", "pause")]


async def test_a_condition_may_tell_a_person_and_nobody_waits(runs: dict[str, AskedRun]) -> None:
    run = runs["notify"]
    notice = await run.question("notice")
    assert "run.total_steps >= 0" in notice["prompt"]
    seen = await run.seen()
    assert (seen.status, seen.result) == ("completed", "B")
    assert verdicts(seen) == [(1, "ConditionalRule", "notify_user")] and len(seen.user_requests) == 1, "it says so once"


@pytest.mark.parametrize(
    ("name", "way"), [("road b", "AB"), ("road c", "AC"), ("road by context", "AB"), ("no road", "A")]
)
async def test_an_edge_is_open_while_its_condition_holds(runs: dict[str, AskedRun], name: str, way: str) -> None:
    seen = await runs[name].seen()
    assert seen.status == "completed" and [s["agent"] for s in seen.steps] == list(way)
    assert [s["attempt"] for s in seen.steps] == [1] * len(way)


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_a_rule_that_cannot_be_kept_is_rejected(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"rejected, {name}"].seen()
    assert seen.status == "rejected" and FORBIDDEN[name][1] in seen.error["message"] and seen.steps == []
