"""Targets: what people write: topologies, rules, configurations, conditions, schemas, settings, values."""

import os
from random import Random
from typing import Any
from unittest.mock import patch

import orjson

from anabranch.cli.running import as_object, as_value
from anabranch.domain.conditions import holds, wrong_with
from anabranch.domain.graph import Graph
from anabranch.domain.intake import check
from anabranch.domain.schemas import Unusable, mismatch, prepare
from anabranch.runtime.settings import Settings, SettingsError, load
from anabranch_contracts.addresses import agent_of, step_key, step_queue
from anabranch_contracts.config import RunConfig, parse_config, parse_memory, parse_policy
from anabranch_contracts.errors import AnabranchError
from anabranch_contracts.notation import MAX_ADDRESS, MAX_ERRORS, parse_topology
from anabranch_contracts.patterns import PatternConfig
from anabranch_contracts.rules import RULES, parse_rule
from anabranch_contracts.topology import Topology, read_edge
from tests.fuzz.driver import Target
from tests.fuzz.mutating import TEXTS, as_stored, mutated, text
from tests.simulation import generate

JSON = Any
MOST_SAID = 10_000
SECRET = "secret-of-mine"
HAND = [
    {"agents": ["A", "B"], "flows": ["A -> B"], "entry": "A"},
    {"nodes": ["A", "User", "End"], "edges": ["A <-> User", "A -> End"], "metadata": {"m": [1]}},
    {"nodes": ["Start", "A"], "edges": [{"source": "Start", "target": "A", "condition": "branch.steps < 3"}]},
    {"nodes": [{"name": "A", "convergence": {"min_ratio": 0.5}, "memory": {"retention": "none"}}], "edges": []},
]
PATTERNS = [
    PatternConfig.hub_and_spoke("H", ["A", "B"], parallel_spokes=True),
    PatternConfig.pipeline([{"agents": ["A"]}, {"agents": ["B", "C"]}]),
    PatternConfig.mesh(["A", "B", "C"]), PatternConfig.ring(["A", "B", "C"]),
]  # fmt: skip
TOPOLOGIES: list[JSON] = [
    *(generate.topology(Random(seed), seed % 2 == 0) for seed in range(60)),
    *HAND,
    *(pattern.canonical() for pattern in PATTERNS),
]
RULE_SAMPLES: list[JSON] = [
    "max_steps(100)", "timeout(300)", "max_turns(A <-> B, 5)", "max_turns(5)", "max_branches(3)", "max_agents(9)",
    "max_parallel_branches(2)", "memory_limit(5)", "max_messages(5)", {"type": "MaxStepsRule", "max_steps": 5},
    {"type": "TimeoutRule", "max_duration_seconds": 1.5},
    {"type": "MaxTurnsRule", "max_turns": 2, "agents": ["A", "B"]},
    {"type": "BudgetRule", "max_tokens": 5, "max_cost": 0.5}, {"type": "MemoryLimitRule", "max_messages": 0},
    {"type": "ConditionalRule", "condition": "run.cost > 2.0", "action": "notify_user"},
]  # fmt: skip
POLICY = {"min_ratio": 0.5, "on_insufficient": "user", "eager": True, "fail_fast": False, "terminate_orphans": True,
          "timeout": 3.5, "on_timeout": "proceed"}  # fmt: skip
CONFIG = RunConfig().model_dump(mode="json") | {"convergence": POLICY, "run_timeout": 9.0}


def topology(random: Random) -> bool:
    """All written forms: accepted ones have one canonical value, and a graph that answers."""
    found, errors = parse_topology(mutated(random, random.choice(TOPOLOGIES)))
    assert len(errors) <= MAX_ERRORS and all(len(said) < MOST_SAID for said in errors), max(map(len, errors))
    if found is None:
        assert errors
        return False
    canonical = found.canonical()
    again, wrong = parse_topology(canonical)
    assert again is not None and (again.canonical(), again.content_hash(), wrong) == (
        canonical,
        found.content_hash(),
        [],
    )
    assert orjson.loads(orjson.dumps(canonical)) == canonical
    assert all(len(said) < MOST_SAID for said in check(found, RunConfig()))
    graph = Graph(canonical)
    assert set(graph.entries) <= set(graph.names) and graph.convergence <= set(graph.names)
    return True


def arrows(random: Random) -> bool:
    """Edge strings."""
    parts = [
        random.choice(("A", "B", "->", "<->", " ", "-", "<", ">", "->>", "é", "\0", "A B"))
        for _ in range(random.randint(1, 5))
    ]
    written = "".join(parts) if random.random() < 0.4 else random.choice(("A -> B", "A<->B", " A  ->  B "))
    written = text(random, written) if random.random() < 0.5 else written
    try:
        found = read_edge(written)
    except ValueError as why:
        assert len(str(why)) < MOST_SAID
        return False
    assert read_edge(f"{found.source} {'<->' if found.bidirectional else '->'} {found.target}") == found
    return True


def rule(random: Random) -> bool:
    """String forms and wire forms."""
    found, errors = parse_rule(mutated(random, random.choice(RULE_SAMPLES)))
    assert all(len(said) < MOST_SAID for said in errors) and (found is None) == bool(errors)
    if found is None:
        return False
    wired = orjson.loads(orjson.dumps(found.wire()))
    assert parse_rule(wired) == (found, []) and wired["type"] in RULES
    return True


def config(random: Random) -> bool:
    """Of a run."""
    found, errors = parse_config(mutated(random, CONFIG))
    assert all(len(said) < MOST_SAID for said in errors), max(map(len, errors))
    if found is None:
        return False
    stored = orjson.loads(orjson.dumps(found.model_dump(mode="json")))
    assert parse_config(stored) == (found, [])
    return True


def policy(random: Random) -> bool:
    """Partial ones, of a node or an invocation."""
    partial = {key: value for key, value in POLICY.items() if random.random() < 0.5}
    value = mutated(random, random.choice((partial, {"retention": "last_n", "max_messages": 3})))
    errors = parse_memory(value, "m") if isinstance(value, dict) and "retention" in value else parse_policy(value, "p")
    assert all(len(said) < MOST_SAID for said in errors)
    return not errors


ATOMS = ["run.total_steps", "run.cost", "branch.steps", "branch.agent", "step.response", "context.k", "context['a.b']",
         "1", "2.5", "-3", "'text'", "true", "null", "[1, 2]", "{'a': 1}", "size(context)", "duration('3s')", "b'x'",
         "timestamp('2026-01-01T00:00:00Z')", "r'\\d'", "'''a'''"]  # fmt: skip
OPERATORS = [" + ", " - ", " * ", " / ", " % ", " < ", " == ", " != ", " && ", " || ", " in ", " ? 1 : "]
MACROS = [
    "[1, 2].all(x, {})",
    "context.list.exists(x, x == {})",
    "[1].map(x, {})",
    "'a'.matches('{}')",
    "has(context.k) && {}",
]
FACTS: JSON = {
    "run": {"id": "r", "total_steps": 3, "branch_count": 1, "parallel_branches": 1, "tokens": 5, "cost": 0.1},
    "branch": {"id": "b0", "type": "simple", "agent": "A", "steps": 2},
    "step": {"response": {"a": [1, "x"]}, "agent": "A"},
    "context": {"k": 1, "a.b": None, "list": list(range(200)), "text": "y" * 2000, "big": 2**63},
}


def expression(random: Random, depth: int = 0) -> str:
    """Something that may well be CEL."""
    roll = random.random()
    if depth > 3 or roll < 0.3:
        return random.choice(ATOMS)
    if roll < 0.75:
        return expression(random, depth + 1) + random.choice(OPERATORS) + expression(random, depth + 1)
    if roll < 0.85:
        return f"({expression(random, depth + 1)})"
    return random.choice(MACROS).format(expression(random, depth + 1))


def condition(random: Random) -> bool:
    """CEL behind its guard: it is refused, or it says yes or no soon."""
    written = expression(random)
    written = text(random, written) if random.random() < 0.2 else written
    why = wrong_with(written)
    if why is not None:
        assert len(why) < MOST_SAID
        return False
    assert holds(written, FACTS) in (True, False)
    return True


SCHEMAS: list[JSON] = [
    True, {"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^a+b?$", "maxLength": 5},
    {"type": "object", "properties": {"a": {"type": "array", "items": {"enum": [1, "x"]}}}, "required": ["a"]},
    {"$defs": {"n": {"type": "number"}}, "anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
    {"oneOf": [{"const": 1}, {"not": {"type": "string"}}], "additionalProperties": False},
    {"$schema": "http://json-schema.org/draft-07/schema#", "if": {"type": "string"}, "then": {"format": "date-time"}},
]  # fmt: skip
ANSWERS: list[JSON] = [1, "aab", {"a": [1, "x"]}, None, [1], "2026-01-01T00:00:00Z", {"a": "b" * 300}]


def schema(random: Random) -> bool:
    """JSON Schema behind its guard: it is refused, or an answer is checked soon."""
    made, value = (as_stored(mutated(random, random.choice(some))) for some in (SCHEMAS, ANSWERS))
    said = mismatch(value, made)
    assert said is None or len(said) < MOST_SAID
    try:
        prepare(made)
    except Unusable as why:
        assert len(str(why)) < MOST_SAID
        return False
    return True


ALPHABET = "ABab09 -_.:@,/+#*%~é名\u2028\0\t'\"\\😀"


def address(random: Random) -> bool:
    """Names of agents in routing keys: there and back, and no name that a topology takes is too long."""
    name = "".join(random.choice(ALPHABET) for _ in range(random.choice((1, 2, 5, 20, 130, 300))))
    assert agent_of(step_key(name)) == name
    agent_of(text(random, step_key(name)))
    found, _ = parse_topology({"nodes": [name]})
    if found is not None:
        assert len(step_queue(name).encode()) <= MAX_ADDRESS and step_queue(name).isascii()
    return found is not None


SETTINGS = {
    "AMQP_URL": [f"amqp://u:{SECRET}@host/v", "amqps://h", f"http://u:{SECRET}@h"],
    "DATABASE_URL": [f"postgresql://u:{SECRET}@h/d", f"postgres:{SECRET}", "postgresql+asyncpg://h/d"],
    "AGENTS": ["a,b", ""],
    "CONCURRENCY": ["1", "10000", "10001", "1.5", " 7 "],
    "QUEUE_TYPE": ["Quorum", "classic", "stream"],
    "DATA_DIR": ["~/x", "/tmp", "~nobody-there/x"],
    "LOG_LEVEL": ["INFO", "loud"],
    "LOG_FORMAT": ["json", "xml"],
    "METRICS_PORT": ["0", "65535", "70000"],
}


def settings(random: Random) -> bool:
    """The environment: good ones are read, bad ones are refused without a word of what is secret."""
    chosen = {name: random.choice(values) for name, values in SETTINGS.items() if random.random() < 0.4}
    for name in list(chosen):
        if random.random() < 0.2:
            chosen[name] = (chosen[name] if SECRET in chosen[name] else random.choice(TEXTS)).replace("\0", "")
    environment = {f"ANABRANCH_{name}": value for name, value in chosen.items()}
    with patch.dict(os.environ, environment):
        try:
            found = load()
        except SettingsError as why:
            assert SECRET not in str(why) and len(str(why)) < MOST_SAID
            return False
    assert isinstance(found, Settings)
    return True


VALUES = ['{"a": 1}', "yes", "3", "[1, 2]", '"text"', "null", "1e999", "\udcff", '{"a": "\udc80"}', "", "{", "NaN"]


def value(random: Random) -> bool:
    """VALUE, TASK and JSON options of the command line: they can be sent, or are refused in a line."""
    written = random.choice(VALUES)
    written = text(random, written) if random.random() < 0.5 else written
    try:
        orjson.dumps(random.choice((as_value, as_value, as_object))(written))
    except AnabranchError as why:
        assert len(str(why)) < MOST_SAID
        return False
    return True


def python_topology(random: Random) -> bool:
    """The class, as programs build it: what it takes is what the parser takes, or the parser says why not."""
    written = mutated(random, random.choice(TOPOLOGIES))
    try:
        found = Topology(**written)
    except (ValueError, TypeError):  # pydantic's error is a ValueError; names that are none are Python's to refuse
        return False
    canonical, (read, errors) = found.canonical(), parse_topology(found)
    assert orjson.dumps(canonical) and (read is not None or errors)
    return True


TARGETS: dict[str, Target] = {
    "topology": topology,
    "Topology()": python_topology,
    "edge strings": arrows,
    "rules": rule,
    "run config": config,
    "policies": policy,
    "conditions": condition,
    "schemas": schema,
    "addresses": address,
    "settings": settings,
    "CLI values": value,
}
