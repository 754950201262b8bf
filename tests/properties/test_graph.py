"""Graph questions agree with a well-known library on random graphs."""

from random import Random

import networkx
import pytest

from anabranch.domain.graph import Graph
from anabranch_contracts.notation import parse_topology
from tests.simulation.generate import topology


@pytest.mark.parametrize("seed", range(60))
def test_reachability_and_upstream_agree_with_networkx(seed: int) -> None:
    parsed, errors = parse_topology(topology(Random(seed)))
    assert parsed is not None, errors
    graph, oracle = Graph(parsed.canonical()), networkx.DiGraph()
    oracle.add_nodes_from(graph.names)
    oracle.add_edges_from((a, b) for a, to in graph.successors.items() for b in to)
    reach = {a: {c for b in oracle.successors(a) for c in ({b} | networkx.descendants(oracle, b))} for a in oracle}
    assert all(graph.reaches(a, b) == (b in reach[a]) for a in oracle for b in oracle)
    strictly = {b: sum(b in reach[a] and a not in reach[b] for a in oracle) for b in oracle}
    assert graph.upstream == strictly
