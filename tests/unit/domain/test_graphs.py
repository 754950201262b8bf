"""Graphs are prepared once for each content, and no more of them are kept than there is room for."""

import pytest

from anabranch.domain import graph
from anabranch_contracts.notation import parse_topology


def prepared(name: str, auto_detect: bool = True) -> graph.Graph:
    topology, errors = parse_topology({"nodes": [name], "edges": []})
    assert topology is not None and not errors
    return graph.graph_of(topology.canonical(), topology.content_hash(), auto_detect)


def test_the_same_content_is_prepared_once() -> None:
    assert prepared("A") is prepared("A")
    assert prepared("A") is not prepared("B")
    assert prepared("A") is not prepared("A", auto_detect=False)


def test_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_PREPARED", 2)
    monkeypatch.setattr(graph, "_PREPARED", {})
    first, second, third = prepared("A"), prepared("B"), prepared("C")
    assert prepared("C") is third and prepared("B") is second
    assert prepared("A") is not first and len(graph._PREPARED) == 2
