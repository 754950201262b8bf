"""Semantics 10: rules as objects, as strings and as Python values are one; what is wrong is named with its mend."""

from typing import Any

import pytest
from pydantic import ValidationError

from anabranch_contracts import rules as r
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import Node, Topology

JSON = Any
SPELLINGS: list[tuple[str, r.Rule]] = [
    ("max_steps(5)", r.MaxStepsRule(max_steps=5)),
    ("timeout(300)", r.TimeoutRule(max_duration_seconds=300)),
    ("timeout(0.5)", r.TimeoutRule(max_duration_seconds=0.5)),
    ("max_turns(5)", r.MaxTurnsRule(max_turns=5)),
    ("max_turns(A <-> B, 5)", r.MaxTurnsRule(max_turns=5, agents=["A", "B"])),
    ("  max_turns( A<->B ,5 ) ", r.MaxTurnsRule(max_turns=5, agents=["A", "B"])),
    ("max_branches(5)", r.MaxBranchesRule(max_branches=5)),
    ("max_parallel_branches(5)", r.MaxParallelBranchesRule(max_parallel_branches=5)),
    ("max_agents(5)", r.MaxAgentsRule(max_agents=5)),
    ("max_messages(5)", r.MemoryLimitRule(max_messages=5)),
    ("memory_limit(0)", r.MemoryLimitRule(max_messages=0)),
]
OTHERS: list[r.Rule] = [
    r.BudgetRule(max_tokens=5),
    r.BudgetRule(max_cost=0.5),
    r.BudgetRule(max_tokens=5, max_cost=0.5),
    r.MaxTurnsRule(max_turns=5, on_limit="fail"),
    *(r.ConditionalRule(condition="true", action=a) for a in ("allow", "block", "terminate", "pause", "notify_user")),
]


@pytest.mark.parametrize(("text", "rule"), SPELLINGS)
def test_a_rule_may_be_written_as_a_string(text: str, rule: r.Rule) -> None:
    assert r.parse_rule(text) == (rule, [])


@pytest.mark.parametrize("rule", [*(rule for _, rule in SPELLINGS), *OTHERS], ids=str)
def test_a_rule_survives_the_wire(rule: r.Rule) -> None:
    wire = rule.wire()
    assert wire["type"] == type(rule).__name__ and r.parse_rule(wire) == (rule, []) and r.parse_rule(rule) == (rule, [])


def test_every_rule_is_known_by_its_name() -> None:
    assert {type(rule).__name__ for rule in [*(rule for _, rule in SPELLINGS), *OTHERS]} == set(r.RULES)


WRONG: list[tuple[JSON, str]] = [
    ("max_steps", "no rule; known are max_steps"),
    ("max_steps()", "needs one number"),
    ("max_steps(many)", "needs one number"),
    ("max_steps(1, 2)", "needs one number"),
    ("max_steps(1.5)", "needs one number"),
    ("max_steps(0)", "MaxStepsRule.max_steps: Input should be greater than or equal to 1"),
    ("timeout(0)", "greater than 0"),
    ("timeout(-1)", "greater than 0"),
    ("timeout(inf)", "finite number"),
    ("timeout(nan)", "TimeoutRule.max_duration_seconds"),
    ("max_turns()", "needs a number of turns, as in max_turns(A <-> B, 5)"),
    ("max_turns(A <-> B)", "needs a number of turns"),
    ("max_turns(A, 5)", "MaxTurnsRule.agents"),
    ("dance(5)", "known are"),
    ("", "known are"),
    (7, "write max_steps(100) or an object with a type"),
    (None, "write max_steps(100)"),
    ({"max_steps": 5}, "an object with a type"),
    ({"type": "DanceRule"}, "unknown rule 'DanceRule'; known are TimeoutRule"),
    ({"type": "MaxStepsRule"}, "MaxStepsRule.max_steps: Field required"),
    ({"type": "MaxStepsRule", "max_steps": "many"}, "MaxStepsRule.max_steps"),
    ({"type": "MaxStepsRule", "max_steps": 5, "on_limit": "fail"}, "MaxStepsRule.on_limit: Extra inputs"),
    ({"type": "MaxTurnsRule", "max_turns": 5, "on_limit": "dance"}, "'complete' or 'fail'"),
    ({"type": "BudgetRule"}, "name max_tokens, max_cost or both"),
    ({"type": "BudgetRule", "max_cost": 0}, "greater than 0"),
    ({"type": "MemoryLimitRule", "max_messages": -1}, "greater than or equal to 0"),
    ({"type": "ConditionalRule", "action": "allow"}, "ConditionalRule.condition: Field required"),
    ({"type": "ConditionalRule", "condition": "true", "action": "dance"}, "'allow', 'block', 'terminate', 'pause'"),
    ({"type": "ConditionalRule", "condition": "x" * 4001}, "at most 4000 characters"),
]


@pytest.mark.parametrize(("value", "why"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_rule_is_refused_with_its_reason(value: JSON, why: str) -> None:
    rule, errors = r.parse_rule(value)
    assert rule is None and why in "; ".join(errors)
    topology, errors = parse_topology({"nodes": ["A"], "rules": [value]})
    assert topology is None and why in "; ".join(errors)


@pytest.mark.parametrize(
    "rule", ["max_turns(A <-> C, 5)", {"type": "MaxTurnsRule", "max_turns": 5, "agents": ["A", "C"]}]
)
def test_a_rule_about_somebody_unknown_is_refused(rule: JSON) -> None:
    topology, errors = parse_topology({"nodes": ["A", "B"], "edges": ["A <-> B"], "rules": [rule]})
    assert topology is None and "unknown node 'C'" in errors[0]


def test_a_rule_may_be_about_a_person() -> None:
    assert not parse_topology({"nodes": ["A"], "edges": ["A <-> User"], "rules": ["max_turns(A <-> User, 5)"]})[1]


def test_rules_are_assigned_to_a_topology_as_the_seed_does() -> None:
    topology = Topology(nodes=(Node(name="A"),))
    topology.rules = [r.TimeoutRule(max_duration_seconds=300), "max_steps(100)"]  # type: ignore[assignment]
    assert [rule["type"] for rule in topology.rules] == ["TimeoutRule", "MaxStepsRule"]
    with pytest.raises(ValidationError, match="known are"):
        topology.rules = ["dance(5)"]  # type: ignore[assignment]


def test_a_callable_becomes_a_name_of_this_process() -> None:
    wire = r.ConditionalRule(condition=len).wire()  # type: ignore[arg-type]
    assert wire["condition"].startswith("python:builtins.len:") and r.PYTHON_CONDITIONS[wire["condition"]] is len
