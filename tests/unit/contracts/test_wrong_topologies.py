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


WRONG: list[tuple[JSON, str]] = [
    (None, "must be an object with nodes and edges"),
    (Written, "must be an object with nodes and edges"),
    ({"nodes": ["A"], "metadata": deep(32)}, "nested deeper than 32; flatten its metadata"),
    (Cyclic(), "nested deeper than 32"),
    ({"nodes": ["A"] * (MOST_VALUES + 1)}, "nested deeper than 32"),
    ({"nodes": ["A"] * 20_001}, "20001 nodes are more than 20000; split the work"),
    ({"nodes": ["A"], "rules": ["timeout(1)"] * 1001}, "1001 rules are more than 1000"),
    ({}, "has no nodes; name at least one agent"),
    ({"nodes": ["User"], "edges": ["User -> User"]}, "has no agent; name at least one"),
    ({"nodes": [7]}, "node '7' must be a name or an object with a name"),
    ({"nodes": ["A", {"name": "User", "kind": "agent"}]}, "reserved for kind user; leave kind out or rename it"),
    ({"nodes": ["A", {"name": "B", "kind": "start"}]}, "kind start belongs to the reserved name Start"),
    ({"nodes": ["A", {"name": "B", "kind": "end"}]}, "kind end belongs to the reserved name End"),
    ({"nodes": ["ä" * 100]}, "too long for the address of a queue; shorten it"),
    ({"nodes": ["start"]}, "too close to the reserved 'Start'; write 'Start' or rename"),
    ({"nodes": [{"name": "A", 7: 8}]}, "node 'A': "),
    ({"nodes": [{"name": "A", "colour": "red"}]}, "colour: unknown key, remove it"),
    ({"nodes": [{"name": "A", "memory": {"retention": "some"}}]}, "node 'A': memory.retention"),
    ({"nodes": [{"name": "A", "convergence": {"min_ratio": "1"}}]}, "node 'A': convergence.min_ratio"),
    ({"nodes": ["A"], "edges": ["A -> "]}, "write 'A -> B' or 'A <-> B'"),
    ({"nodes": ["A"], "edges": ["A -> end"]}, "edge end name 'end' is too close to the reserved 'End'"),
    ({"nodes": ["A"], "edges": ["A -> B"]}, "edge 'A' -> 'B': unknown node 'B'; declare it in nodes"),
    ({"nodes": ["A", "B"], "edges": ["A <-> B", "B -> A"]}, "edge 'B' -> 'A' is declared twice; remove one"),
    ({"nodes": ["A"], "edges": ["A <-> Start"]}, "edge 'A' -> 'Start': nothing leads to Start; remove it"),
    ({"nodes": ["A"], "edges": ["A <-> End"]}, "edge 'End' -> 'A': nothing follows End; remove it"),
    ({"nodes": ["A"], "edges": ["Start -> End"]}, "no agent stands between; name one"),
    ({"nodes": ["A", {"name": "P", "kind": "user"}], "edges": ["A -> P"]}, "'P' has no way back"),
    ({"nodes": ["A"], "entry": []}, "entry names nobody"),
    ({"nodes": ["A"], "entry": 7}, "entry must be a list"),
    ({"nodes": ["A"], "edges": ["A -> End"], "entry": "End"}, "entry 'End' is no node that can start"),
    ({"nodes": ["A"], "edges": ["Start -> A"], "entry": ["Start"]}, "entry 'Start' is no node that can start"),
    ({"nodes": ["A"], "entry": [["A"]]}, "is no node that can start; name an agent"),
    ({"nodes": ["A", "B"], "entry": ["A", "A"]}, "entry names a node twice"),
    ({"nodes": ["A"], "metadata": {1: 2}}, "metadata must be an object with texts as keys"),
    ({"nodes": ["A"], "metadata": {"a": object()}}, "metadata must be JSON: "),
    ({"nodes": ["A"], "metadata": {"a": "x" * MAX_METADATA}}, f"the limit is {MAX_METADATA}"),
]


@pytest.mark.parametrize(("value", "why"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named_with_the_mend(value: JSON, why: str) -> None:
    topology, errors = parse_topology(value)
    assert topology is None and any(why in error for error in errors), errors
    assert all(error.startswith("topology: ") for error in errors)


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
