"""Semantics 10: rules as objects, as strings and as Python values are one; what is wrong is named with its mend."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from anabranch_contracts import rules as r
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import Node, Topology

JSON = Any
Condition = Callable[[Any], bool]
SPELLINGS: list[tuple[str, r.Rule]] = [
    ("max_steps(5)", r.MaxStepsRule(max_steps=5)),
    ("timeout(300)", r.TimeoutRule(max_duration_seconds=300)),
    ("timeout(0.5)", r.TimeoutRule(max_duration_seconds=0.5)),
    ("max_turns(5)", r.MaxTurnsRule(max_turns=5)),
    ("max_turns(A <-> B, 5)", r.MaxTurnsRule(max_turns=5, agents=["A", "B"])),
    ("max_turns(A, B <-> C, 5)", r.MaxTurnsRule(max_turns=5, agents=["A, B", "C"])),
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
BEYOND: list[JSON] = [
    *(f"{rule}({r.MOST + 1})" for rule in ("max_steps", "max_branches", "max_parallel_branches", "max_agents")),
    *(f"{rule}({10**30})" for rule in ("max_steps", "max_messages", "memory_limit", "max_turns")),
    f"max_turns(A <-> B, {r.MOST + 1})",
    {"type": "MaxStepsRule", "max_steps": 1e30},
    {"type": "MaxStepsRule", "max_steps": 10**30},
    {"type": "BudgetRule", "max_tokens": r.MOST + 1},
    {"type": "BudgetRule", "max_cost": 1e300},
    {"type": "BudgetRule", "max_cost": r.MOST + 1},
]


@pytest.mark.parametrize(("value", "why"), WRONG, ids=range(len(WRONG)))
def test_what_is_no_rule_is_refused_with_its_reason(value: JSON, why: str) -> None:
    rule, errors = r.parse_rule(value)
    assert rule is None and why in "; ".join(errors)
    topology, errors = parse_topology({"nodes": ["A"], "rules": [value]})
    assert topology is None and why in "; ".join(errors)


TYPES = "TimeoutRule, MaxStepsRule, MaxTurnsRule, MaxBranchesRule, MaxParallelBranchesRule, MaxAgentsRule, "
TYPES += "MemoryLimitRule, BudgetRule, ConditionalRule"
WRITTEN = "max_steps, timeout, max_branches, max_parallel_branches, max_agents, max_messages, memory_limit, max_turns"
LONG = "x" * 100
QUOTED: list[tuple[JSON, str]] = [
    (LONG, f"rules: '{LONG[:80]}' is no rule; known are {WRITTEN}, as in max_steps(100)"),
    (f"max_steps({LONG})", f"rules: 'max_steps({LONG[:70]}' needs one number"),
    (f"max_turns({LONG})", f"rules: 'max_turns({LONG[:70]}' needs a number of turns, as in max_turns(A <-> B, 5)"),
    ([LONG], f"""rules: "['{LONG[:78]}" is no rule; write max_steps(100) or an object with a type"""),
    ({"type": LONG}, f"rules: unknown rule '{LONG[:80]}'; known are {TYPES}"),
]


@pytest.mark.parametrize(("value", "why"), QUOTED, ids=range(len(QUOTED)))
def test_what_is_refused_is_quoted_up_to_a_bound(value: JSON, why: str) -> None:
    assert r.parse_rule(value) == (None, [why])


@pytest.mark.parametrize("value", BEYOND, ids=str)
def test_a_number_that_no_database_could_hold_is_refused(value: JSON) -> None:
    rule, errors = r.parse_rule(value)
    assert rule is None and ("less than or equal to" in errors[0] or "maximum size" in errors[0])


def test_numbers_up_to_that_are_not() -> None:
    assert r.parse_rule(f"max_steps({r.MOST})") == (r.MaxStepsRule(max_steps=r.MOST), [])


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


class Limit:
    """What a bound method may belong to."""

    def __init__(self, most: int) -> None:
        self.most = most

    def passed(self, ctx: Any) -> bool:
        return bool(ctx.run["total_steps"] > self.most)


def closure(most: int) -> Condition:
    return lambda ctx: ctx.run["total_steps"] > most


def defaults(most: int) -> Condition:
    return lambda ctx, limit=most: ctx.run["total_steps"] > limit


def named_defaults(most: int) -> Condition:
    return lambda ctx, *, limit=most: ctx.run["total_steps"] > limit


def instance(most: int) -> Condition:
    return Limit(most).passed


def name_of(condition: Condition) -> str:
    return r.ConditionalRule(condition=condition).condition  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [closure, defaults, named_defaults, instance])
def test_callables_that_hold_something_else_have_names_of_their_own(made: Callable[[int], Condition]) -> None:
    one, other = made(1), made(2)
    assert name_of(one) != name_of(other) and r.PYTHON_CONDITIONS[name_of(one)] is one


@pytest.mark.parametrize("made", [closure, defaults, named_defaults])
def test_the_same_callable_made_again_has_its_name_again(made: Callable[[int], Condition]) -> None:
    before = name_of(made(3))
    known = len(r.PYTHON_CONDITIONS)
    assert {name_of(made(3)) for _ in range(100)} == {before} and len(r.PYTHON_CONDITIONS) == known


NAMES = """
from anabranch_contracts.rules import ConditionalRule

def helped(help, among):
    return lambda ctx: help(ctx) and ctx.branch["type"] in among

for condition in (
    lambda ctx: any(step > 3 for step in ctx.context["steps"]),
    lambda ctx: ctx.step["agent"] in {"A", "B", "C", "D"},
    helped(lambda ctx: ctx.run["cost"] > 1, {"simple", "nested", "conversation"}),
):
    print(ConditionalRule(condition=condition).condition)
"""


def test_a_callable_has_the_same_name_in_the_next_process() -> None:
    said = {_run(NAMES, seed) for seed in ("1", "2")}
    assert len(said) == 1 and len(set(said.pop().split())) == 3


def _run(code: str, seed: str) -> str:
    """What a process prints whose sets have an order of their own."""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()
