"""Semantics 10: the rules that bound a run; every verdict of theirs is an event."""

from typing import Any

import pytest

from anabranch.domain.evolving.steps import MOST_COST
from anabranch.runtime.cache import freeze, thaw
from anabranch_contracts.reply_builders import final_response, invoke_agent, parallel_invoke
from tests.unit.domain.runs import Run

JSON = Any
TALK = {"nodes": ["A", "B"], "edges": ["A <-> B"]}
HUB = {"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"}
SPLIT = parallel_invoke(invocations=[{"agent": "W", "request": i} for i in range(4)])


def ended_by(run: Run, rule: str, place: int = 0) -> bool:
    """Whether a rule ended the run, and says so."""
    applied = run.last("RuleApplied")
    assert (applied.type, applied.rule) == (rule, place) and applied.reason in run.state.error["message"]
    assert run.state.error["type"] == rule and run.replayed() == run.state
    return bool(run.state.status == "failed" and not run.asked)


def talk(run: Run, most: int = 50) -> int:
    """Let the agents go on talking; how many steps it took."""
    for steps in range(most):
        if run.state.terminal:
            return steps
        run.reply(next(iter(run.asked.values()))["agent"], "again")
    return most


@pytest.mark.parametrize("rules", [["max_steps(3)"], ["max_steps(3)", "max_steps(9)"]])
def test_a_run_ends_at_the_step_that_would_be_one_too_many(rules: list[str]) -> None:
    run = Run({**TALK, "rules": rules})
    assert talk(run) == 3 and run.state.total_steps == 3 and ended_by(run, "MaxStepsRule")


def test_a_run_that_takes_as_many_steps_as_it_may_completes() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B"], "rules": ["max_steps(2)"]})
    assert talk(run) == 2 and run.state.status == "completed" and not run.of("RuleApplied")


def test_retries_are_no_steps() -> None:
    run = Run({"nodes": ["A"], "rules": ["max_steps(1)"]}, config={"retry": {"base_delay": 0}})
    run.fail("A", "transient")
    run.tend()
    run.reply("A", "done")
    assert run.result == "done"


def test_the_steps_of_all_branches_count() -> None:
    run = Run({**HUB, "rules": ["max_steps(3)"]})
    run.reply("H", SPLIT)
    assert run.state.status == "failed" and run.state.total_steps == 3


def test_no_run_is_without_end_by_default() -> None:
    config = Run(TALK).state.config
    assert (config["max_steps"], config["max_branch_steps"]) == (100_000, 1_000)


def test_the_configured_bounds_are_no_rule_of_the_topology() -> None:
    run = Run(TALK, config={"max_steps": 3})
    assert talk(run) == 3 and ended_by(run, "MaxStepsRule", place=-1)


def test_a_branch_that_takes_too_many_steps_fails_and_its_fork_decides() -> None:
    topology = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "W <-> X"], "entry": "H"}
    run = Run(topology, config={"max_branch_steps": 2, "convergence": {"on_insufficient": "proceed"}})
    run.reply("H", parallel_invoke(["W"]))
    run.reply("W", invoke_agent("X"))
    run.reply("X", invoke_agent("W"))
    (record,) = run.at("H")["request"]
    assert record["error"]["type"] == "MaxBranchSteps" and record["agent"] == "W" and run.state.status == "running"


TURNS = [
    ("max_turns(1)", 3),
    ("max_turns(2)", 5),
    ("max_turns(A <-> B, 2)", 5),
    ("max_turns(B <-> A, 2)", 5),
    ("max_turns(B <-> C, 1)", 50),
]


@pytest.mark.parametrize(("rule", "steps"), TURNS)
def test_a_conversation_ends_after_its_round_trips_with_the_last_thing_said(rule: str, steps: int) -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A <-> B", "B <-> C"], "rules": [rule]})
    said = [str(i) for i in range(steps)]
    for i, words in enumerate(said):
        run.reply("AB"[i % 2], invoke_agent("BA"[i % 2], words))
    if steps == 50:
        assert run.asked and not run.of("RuleApplied")
    else:
        assert run.result == said[-1] and run.last("RuleApplied").action == "complete"
    assert run.replayed() == run.state


def test_a_conversation_may_fail_at_its_end() -> None:
    rule = {"type": "MaxTurnsRule", "max_turns": 1, "on_limit": "fail"}
    run = Run({**TALK, "rules": ["max_steps(99)", rule]})
    assert talk(run) == 3 and run.state.status == "failed"
    assert run.state.error["causes"][0]["type"] == "MaxTurnsRule"
    assert (run.last("RuleApplied").rule, run.last("RuleApplied").action) == (1, "fail")


def test_the_narrowest_rule_on_a_conversation_counts() -> None:
    run = Run({**TALK, "rules": ["max_turns(9)", "max_turns(A <-> B, 1)", "max_turns(3)"]})
    assert talk(run) == 3 and run.last("RuleApplied").rule == 1


def test_each_conversation_has_its_own_turns() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A <-> B", "A <-> C"], "entry": "A", "rules": ["max_turns(1)"]})
    for agent in ("B", "C"):
        run.reply("A", invoke_agent(agent, "well?"))
        run.reply(agent, "so")
    run.reply("A", invoke_agent("C", "and?"))
    assert run.result == "and?" and run.state.total_steps == 5


def test_each_branch_has_its_own_turns() -> None:
    topology = {"nodes": ["H", "A", "B"], "edges": ["H <-> A", "A <-> B"], "entry": "H", "rules": ["max_turns(1)"]}
    run = Run(topology)
    run.reply("H", parallel_invoke(invocations=[{"agent": "A", "request": i} for i in range(2)]))
    for branch in ("b0.f1.b0", "b0.f1.b1"):
        run.reply("A", invoke_agent("B"), f"{branch}#1")
        run.reply("B", "so", f"{branch}#2")
        run.reply("A", invoke_agent("B", branch), f"{branch}#3")
    assert [r["result"] for r in run.at("H")["request"]] == ["b0.f1.b0", "b0.f1.b1"]


@pytest.mark.parametrize("most", [1, 3])
def test_a_conversation_with_a_person_has_turns_too(most: int) -> None:
    run = Run({"nodes": ["A"], "edges": ["A <-> User"], "rules": [f"max_turns(A <-> User, {most})"]})
    for _ in range(most):
        run.reply("A", "well?")
        run.answer("so")
    run.reply("A", "and?")
    assert run.result == "and?" and not run.open


def test_turns_through_a_convergence_node_count_as_others_do() -> None:
    nodes: JSON = ["A", {"name": "B", "is_convergence_point": True}]
    run = Run({"nodes": nodes, "edges": ["A <-> B"], "rules": ["max_turns(1)"]})
    assert talk(run) == 3 and run.result == "again" and run.state.status == "completed"


@pytest.mark.parametrize(("most", "ok"), [(5, True), (4, False)])
def test_a_run_may_have_so_many_branches(most: int, ok: bool) -> None:
    run = Run({**HUB, "rules": [f"max_branches({most})"]})
    run.reply("H", SPLIT)
    assert len(run.asked) == 4 if ok else ended_by(run, "MaxBranchesRule")


def test_entries_are_branches() -> None:
    assert ended_by(Run({"nodes": ["A", "B"], "rules": ["max_branches(1)"]}), "MaxBranchesRule")


@pytest.mark.parametrize(("most", "status"), [(3, "running"), (2, "failed")])
def test_what_goes_on_at_a_convergence_node_is_a_branch(most: int, status: str) -> None:
    run = Run({"nodes": ["A", "B", "Y"], "edges": ["A -> Y", "B -> Y"], "rules": [f"max_branches({most})"]})
    run.reply("A", "a")
    run.reply("B", "b")
    assert run.state.status == status and run.state.branch_count == most


def test_what_is_tried_again_is_a_branch() -> None:
    run = Run({**HUB, "rules": ["max_branches(5)"]})
    run.reply("H", {**SPLIT, "convergence": {"on_insufficient": "user"}})
    for i in range(4):
        run.fail("W", step_id=f"b0.f1.b{i}#1")
    run.answer("retry")
    assert ended_by(run, "MaxBranchesRule")


def test_what_is_parked_by_a_fork_itself_is_none() -> None:
    nodes: JSON = ["S", {"name": "Y", "is_convergence_point": True}]
    run = Run({"nodes": nodes, "edges": ["S -> Y"], "rules": ["max_branches(1)"]})
    run.reply("S", parallel_invoke(["Y", "Y", "Y"]))
    assert len(run.at("Y")["request"]) == 3 and run.state.branch_count == 1


@pytest.mark.parametrize(("most", "ok"), [(2, True), (1, False)])
def test_a_topology_may_have_so_many_agents(most: int, ok: bool) -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["Start -> A", "A -> B", "B <-> User"], "rules": [f"max_agents({most})"]})
    assert run.state.status == ("running" if ok else "rejected")
    assert ok or "MaxAgentsRule: 2 agents, max_agents = 1" in run.state.error["message"]


@pytest.mark.parametrize(("most", "kept"), [(0, 0), (2, 2), (3, 3), (99, 6)])
def test_an_agent_remembers_so_many_messages(most: int, kept: int) -> None:
    run = Run({**TALK, "rules": [f"max_messages({most})"]})
    for agent in "ABABAB":
        run.reply(agent, agent)
    assert len(run.at("A")["memory"]) == kept


BUDGETS: list[JSON] = [
    ({"max_tokens": 10}, [(6, 4, 0), (0, 1, 0)], "11 tokens were used, max_tokens = 10"),
    ({"max_cost": 0.3}, [(0, 0, 0.1), (0, 0, 0.2), (0, 0, 0.01)], "0.31 was spent, max_cost = 0.3"),
    ({"max_tokens": 99, "max_cost": 1}, [(0, 0, 1), (50, 50, 0)], "100 tokens were used, max_tokens = 99"),
]


@pytest.mark.parametrize(("budget", "spent", "reason"), BUDGETS)
def test_a_run_ends_when_it_has_consumed_more_than_its_budget(budget: JSON, spent: JSON, reason: str) -> None:
    run = Run({**TALK, "rules": [{"type": "BudgetRule", **budget}]})
    for i, (read, written, cost) in enumerate(spent):
        assert run.state.status == "running"
        run.reply("AB"[i % 2], "more", usage={"input_tokens": read, "output_tokens": written, "cost": cost})
    assert ended_by(run, "BudgetRule") and run.last("RuleApplied").reason == reason


def test_attempts_that_failed_have_their_cost() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B"], "rules": [{"type": "BudgetRule", "max_tokens": 10}]})
    run.reply("A", invoke_agent("nobody"), usage={"output_tokens": 11})
    assert ended_by(run, "BudgetRule")


@pytest.mark.parametrize("rule", ["max_steps(1000000000001)", "max_turns(A <-> B, 9999999999999999999999)"])
def test_a_run_under_a_rule_beyond_what_can_be_counted_is_rejected(rule: str) -> None:
    run = Run({**TALK, "rules": [rule]})
    assert run.state.status == "rejected" and "less than or equal to 1000000000000" in run.state.error["message"]


def test_the_cost_of_a_run_stays_within_what_a_snapshot_can_hold() -> None:
    run = Run(TALK)
    for i in range(20):
        run.reply("AB"[i % 2], "more", usage={"cost": 1e300, "input_tokens": 10**30})
    assert run.state.cost == thaw(freeze(run.state)).cost == MOST_COST and run.replayed() == run.state


@pytest.mark.parametrize("order", ["AAABB", "ABAAB", "BAAAB", "BBAAA"])
def test_which_bound_is_reached_does_not_depend_on_who_is_faster(order: str) -> None:
    topology = {"nodes": ["A", "B"], "edges": ["A -> A", "B -> B"], "entry": ["A", "B"]}
    bounds = {"max_branch_steps": 3, "max_steps": 5, "convergence": {"on_insufficient": "proceed"}}
    run = Run(topology, config=bounds)
    for agent in order:
        run.reply(agent, final_response("b") if agent == "B" and run.at("B")["step_number"] == 2 else "round")
    assert run.result == "b" and run.state.total_steps == 5 and not run.of("RuleApplied")
    assert run.last("BranchFailed").error["type"] == "MaxBranchSteps" and run.replayed() == run.state


def test_without_a_rule_a_run_has_no_more_branches_than_it_may_take_steps() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B"]}, config={"max_steps": 5})
    run.reply("A", {"next_action": "parallel_invoke", "agents": ["B"] * 5})
    assert ended_by(run, "MaxStepsRule", place=-1) and run.state.branch_count == 1
    assert run.last("RuleApplied").reason == "the run would have 6 branches, more than max_steps = 5"
