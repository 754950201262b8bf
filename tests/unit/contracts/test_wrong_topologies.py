"""Semantics 2: everything that can be wrong with a written topology is named with the mend, and never raises."""

from typing import Any

import pytest

from anabranch_contracts.notation import MAX_ERRORS, MAX_METADATA, MOST_VALUES, parse_topology
from anabranch_contracts.topology import Edge, Node, Topology

JSON = Any


class Written:
    """What knows how to write itself as a dict."""

    def to_dict(self) -> dict[str, JSON]:
        return {"nodes": ["A", "B"], "edges": ["A -> B"]}


def deep(levels: int) -> JSON:
    value: JSON = {}
    for _ in range(levels):
        value = {"in": value}
    return value


class Cyclic(dict[str, JSON]):
    """Metadata that holds itself."""

    def __init__(self) -> None:
        super().__init__(nodes=["A"], metadata=self)


L = "x" * 120
OBJECT = f"edge {str({L: 1})[:80]}"
ARROWS = "write 'A -> B' or 'A <-> B'"
TWO = "name two that talk with each other"
UNKNOWN = "edge 'A' -> 'B': unknown node 'B'; declare it in nodes"
WRONG: list[tuple[JSON, ...]] = [
    (None, "must be an object with nodes and edges"),
    (Written, "must be an object with nodes and edges"),
    ({"nodes": ["A"], "metadata": deep(32)}, "is nested deeper than 32; flatten its metadata"),
    (Cyclic(), "is nested deeper than 32; flatten its metadata"),
    ({"nodes": ["A"] * (MOST_VALUES + 1)}, "is nested deeper than 32; flatten its metadata"),
    ({"nodes": ["A"] * 20_001}, "20001 nodes are more than 20000; split the work"),
    ({"nodes": ["A"], "rules": ["timeout(1)"] * 1001}, "1001 rules are more than 1000; split the work"),
    ({}, "has no nodes; name at least one agent"),
    ({"nodes": ["User"], "edges": ["User -> User"]}, "has no agent; name at least one"),
    ({"nodes": [7]}, "node '7' must be a name or an object with a name"),
    (
        {"nodes": ["A", {"name": "User", "kind": "agent"}]},
        "node 'User' is reserved for kind user; leave kind out or rename it",
    ),
    (
        {"nodes": ["A", {"name": "B", "kind": "start"}]},
        "node 'B': kind start belongs to the reserved name Start; rename it or leave kind out",
    ),
    (
        {"nodes": ["A", {"name": "B", "kind": "end"}]},
        "node 'B': kind end belongs to the reserved name End; rename it or leave kind out",
    ),
    ({"nodes": ["ä" * 100]}, f"node name '{'ä' * 100}' is too long for the address of a queue; shorten it"),
    ({"nodes": ["start"]}, "node name 'start' is too close to the reserved 'Start'; write 'Start' or rename"),
    ({"nodes": [{"name": "A", 7: 8}]}, "node 'A': 7: Keys should be strings"),
    ({"nodes": [{"name": "A", "colour": "red"}]}, "node 'A': colour: unknown key, remove it"),
    (
        {"nodes": [{"name": "A", "memory": {"retention": "some"}}]},
        "node 'A': memory.retention: Input should be 'last_n', 'single_step' or 'none'",
    ),
    (
        {"nodes": [{"name": "A", "convergence": {"min_ratio": "1"}}]},
        "node 'A': convergence.min_ratio: Input should be a valid number",
    ),
    ({"nodes": ["A"], "edges": ["A -> "]}, "edge 'A -> ' is not understood; write 'A -> B' or 'A <-> B'"),
    (
        {"nodes": ["A"], "edges": ["A -> end"]},
        "edge end name 'end' is too close to the reserved 'End'; write 'End' or rename",
    ),
    ({"nodes": ["A"], "edges": ["A -> B"]}, "edge 'A' -> 'B': unknown node 'B'; declare it in nodes"),
    ({"nodes": ["A", "B"], "edges": ["A <-> B", "B -> A"]}, "edge 'B' -> 'A' is declared twice; remove one"),
    ({"nodes": ["A"], "edges": ["A <-> Start"]}, "edge 'A' -> 'Start': nothing leads to Start; remove it"),
    ({"nodes": ["A"], "edges": ["A <-> End"]}, "edge 'End' -> 'A': nothing follows End; remove it"),
    ({"nodes": ["A"], "edges": ["Start -> End"]}, "edge 'Start' -> 'End': no agent stands between; name one"),
    (
        {"nodes": ["A", {"name": "P", "kind": "user"}], "edges": ["A -> P"]},
        "node 'P' has no way back; add an edge from it to the agent that goes on",
    ),
    ({"nodes": ["A"], "entry": []}, "entry names nobody; leave it out or name a node"),
    ({"nodes": ["A"], "entry": 7}, "entry must be a list"),
    ({"nodes": ["A"], "edges": ["A -> End"], "entry": "End"}, "entry 'End' is no node that can start; name an agent"),
    (
        {"nodes": ["A"], "edges": ["Start -> A"], "entry": ["Start"]},
        "entry 'Start' is no node that can start; name an agent",
    ),
    ({"nodes": ["A"], "entry": [["A"]]}, "entry \"['A']\" is no node that can start; name an agent"),
    ({"nodes": ["A", "B"], "entry": ["A", "A"]}, "entry names a node twice; remove one"),
    ({"nodes": ["A"], "metadata": {1: 2}}, "metadata must be an object with texts as keys"),
    ({"nodes": ["A"], "metadata": {"a": object()}}, "metadata must be JSON: Type is not JSON serializable: object"),
    (
        {"nodes": ["A"], "metadata": {"a": "x" * MAX_METADATA}},
        f"metadata has {MAX_METADATA + 8} bytes, the limit is {MAX_METADATA}",
    ),
    ({"nodes": ["A"], "metadata": "red"}, "metadata must be an object with texts as keys"),
    ({"nodes": "AB"}, "nodes must be a list"),
    (
        {"nodes": ["A"], "edges": "A", "rules": [7]},
        "edges must be a list",
        "rules: '7' is no rule; write max_steps(100) or an object with a type",
    ),
    ({"nodes": ["User"], "edges": ["Start -> User", "User -> User"]}, "has no agent; name at least one"),
    ({"nodes": ["Start", "End"]}, "has no agent; name at least one"),
    (
        {"nodes": ["A*", {"name": "B", "convergence": {"min_ratio": "1"}}]},
        "node name 'A*' may not contain '*', '#' or control characters; rename it",
        "node 'B': convergence.min_ratio: Input should be a valid number",
    ),
    ({"nodes": ["A"], "edges": ["A -> B", "A -> B"]}, UNKNOWN, UNKNOWN),
    ({"nodes": ["A"], "edges": [L]}, f"edge {L[:80]!r} is not understood; {ARROWS}"),
    (
        {"nodes": ["A", {"name": "B", "convergence": {"eager": 7}, "memory": {"retention": 7}}, [1]]},
        "node 'B': convergence.eager: Input should be a valid boolean",
        "node 'B': memory.retention: Input should be 'last_n', 'single_step' or 'none'",
        "node '[1]' must be a name or an object with a name",
    ),
    (
        {"nodes": [{"name": "B", "memory": 7}, {"name": "C", "memory": {"max_messages": -1}}, "D"], "what": 1},
        "unknown key 'what'; known are nodes, agents, edges, flows, entry, rules, metadata",
        "node 'B': memory: Input should be a valid dictionary",
        "node 'C': memory.max_messages: Input should be greater than or equal to 0",
    ),
    ({"nodes": ["A", "A"]}, "node 'A' is declared twice; remove one"),
    ({"nodes": ["A"], "agents": ["B"]}, "both spellings of nodes are given; keep one"),
    ({"nodes": ["A"], "edges": [], "flows": []}, "both spellings of edges are given; keep one"),
    ({"nodes": ["A"], L: 1}, f"unknown key {L[:80]!r}; known are nodes, agents, edges, flows, entry, rules, metadata"),
    ({"nodes": ["A", [L]]}, f"node {str([L])[:80]!r} must be a name or an object with a name"),
    ({"nodes": ["A", {"name": [L]}]}, f"node name {str([L])[:80]!r} must be a text of 1 to 128 characters"),
    ({"nodes": ["A", " "]}, "node name ' ' must be a text of 1 to 128 characters"),
    ({"nodes": ["A", "x" * 129]}, f"node name '{L[:80]}' must be a text of 1 to 128 characters"),
    ({"nodes": ["A*"]}, "node name 'A*' may not contain '*', '#' or control characters; rename it"),
    (
        {"nodes": ["A"], "edges": [{L: 1}]},
        f"{OBJECT}: source: Field required",
        f"{OBJECT}: target: Field required",
        f"{OBJECT}: {'x' * 80}: unknown key, remove it",
    ),
    ({"nodes": ["A"], "edges": [[L]]}, f"edge {str([L])[:60] + ' is no text'!r} is not understood; {ARROWS}"),
    ({"nodes": ["A"], "entry": L}, f"entry {L[:80]!r} is no node that can start; name an agent"),
    ({"nodes": ["A"], "rules": [f"max_turns(A <-> {L}, 5)"]}, f"rules: MaxTurnsRule: unknown node {L[:80]!r}; {TWO}"),
    ({"nodes": ["A"], "rules": [7]}, "rules: '7' is no rule; write max_steps(100) or an object with a type"),
    (
        {"nodes": ["A"], "edges": [{"source": "A", "target": "User"}]},
        "node 'User' has no way back; add an edge from it to the agent that goes on",
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named_with_the_mend(wrong: tuple[JSON, ...]) -> None:
    value, *why = wrong
    topology, errors = parse_topology(value)
    assert topology is None and errors == [f"topology: {one}" for one in why]


def test_what_is_just_within_the_bounds_is_taken() -> None:
    for written in (
        {"nodes": ["A"], "metadata": deep(31)},
        {"nodes": ["A" * 128]},
        {"nodes": ["A"], "rules": ["timeout(1)"] * 1000},
        {"nodes": ["A"], "metadata": {"a": "x" * (MAX_METADATA - 8)}},
        {"nodes": ["A", "B"], "edges": [Edge(source="A", target="B"), "B -> B", "B <-> A"][:2]},
    ):
        assert parse_topology(written)[1] == []


def test_all_that_is_wrong_is_said_at_once_though_not_without_end() -> None:
    assert len(parse_topology({"nodes": ["A", 7, ""], "edges": ["x"], "entry": "B", "what": 1})[1]) == 5
    assert len(parse_topology({"nodes": ["A"], "edges": ["x"] * 1000})[1]) == MAX_ERRORS


def test_what_can_write_itself_as_a_dict_is_a_topology() -> None:
    topology, _ = parse_topology(Written())
    assert topology is not None and [n.name for n in topology.nodes] == ["A", "B"]


def test_only_lists_are_read_as_names_and_rules() -> None:
    for field in ("nodes", "rules"):
        with pytest.raises(ValueError, match=field):
            Topology(**{"nodes": (Node(name="A"),), field: 7})
