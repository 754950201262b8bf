"""Semantics 2: all written forms are one canonical value; what is wrong is named with its mend."""

import time
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch_contracts.notation import parse_topology
from anabranch_contracts.patterns import PatternConfig
from anabranch_contracts.topology import Edge, Node, Topology
from tests.acceptance.broken import invalid

NAMES = ["A", "B", "C"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(["nodes", "agents", "edges", "flows", "entry", "rules", "metadata", "other"])


def parsed(value: object) -> Topology:
    topology, errors = parse_topology(value)
    assert topology is not None, errors
    return topology


FORMS = [
    {"nodes": NAMES, "edges": ["A -> B", "B <-> C"]},
    {"agents": NAMES, "flows": ["A->B", "  B<->C "]},
    {"nodes": [{"name": n} for n in NAMES], "edges": [{"source": "A", "target": "B"}, "B <-> C"]},
    {"nodes": [Node(name=n) for n in NAMES], "edges": [Edge(source="A", target="B"), "B <-> C"]},
    Topology(
        nodes=tuple(Node(name=n) for n in NAMES),
        edges=(Edge(source="A", target="B"), Edge(source="B", target="C", bidirectional=True)),
    ),
]


def test_a_topology_object_may_be_written_in_names_and_arrows() -> None:
    written = Topology(nodes=["A", "B", "User"], edges=["A -> B", "B <-> User"], entry="A")  # type: ignore[arg-type]
    written.rules = ["max_steps(9)"]  # type: ignore[assignment]
    as_dict = {"nodes": ["A", "B"], "edges": ["A -> B", "B <-> User"], "entry": "A", "rules": ["max_steps(9)"]}
    assert parse_topology(written)[0] == parse_topology(as_dict)[0]
    assert not written.is_convergence_point("B")
    with pytest.raises(ValueError, match="write 'A -> B' or 'A <-> B'"):
        Topology(nodes=["A"], edges=["A"])  # type: ignore[arg-type]


MEETING: list[tuple[list[str], list[str]]] = [
    (["A -> Y", "B -> Y"], ["Y"]),
    (["A <-> Y", "B <-> Y"], []),
    (["A -> Y", "B <-> Y"], []),
    (["A -> Y", "Y -> Y"], []),
    (["A -> User", "B -> User", "User -> Y", "A -> Y", "B -> Y"], ["Y"]),
]


@pytest.mark.parametrize(("edges", "found"), MEETING, ids=range(len(MEETING)))
def test_paths_meet_at_an_agent_with_two_ways_in_that_are_none_out(edges: list[str], found: list[str]) -> None:
    people = ["User"] if "User -> Y" in edges else []
    topology = parsed({"nodes": ["A", "B", *people, "Y"], "edges": edges})
    assert [node.name for node in topology.nodes if topology.is_convergence_point(node.name)] == found


def test_what_is_said_about_a_topology_is_kept() -> None:
    assert parsed({"nodes": ["A"], "metadata": {"a": 1}}).canonical()["metadata"] == {"a": 1}


@pytest.mark.parametrize("form", FORMS)
def test_all_written_forms_are_one_value(form: object) -> None:
    assert parsed(form).content_hash() == parsed(FORMS[0]).content_hash()


PATTERNS: dict[str, Callable[[], Topology]] = {
    "hub": lambda: PatternConfig.hub_and_spoke("H", ["W1", "W2"], parallel_spokes=True),
    "pipeline": lambda: PatternConfig.pipeline(
        [{"name": "one", "agents": ["A"]}, {"name": "two", "agents": ["B", "C"]}], parallel_within_stage=True
    ),
    "hierarchical": lambda: PatternConfig.hierarchical({"Boss": ["Lead"], "Lead": ["Hand"]}),
    "mesh": lambda: PatternConfig.mesh(NAMES),
    "star": lambda: PatternConfig.star("S", NAMES),
    "ring": lambda: PatternConfig.ring(NAMES),
    "broadcast": lambda: PatternConfig.broadcast("S", NAMES),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_valid_topologies_and_canonical_is_a_fixed_point(name: str) -> None:
    canonical = PATTERNS[name]().canonical()
    assert canonical == orjson.loads(orjson.dumps(canonical)), "it is JSON, and nothing else"
    assert parsed(canonical).canonical() == canonical


def test_reserved_names_need_not_be_declared() -> None:
    kinds = {n.name: n.kind for n in parsed({"nodes": ["A"], "edges": ["Start -> A", "A <-> User", "A -> End"]}).nodes}
    assert kinds == {"A": "agent", "Start": "start", "User": "user", "End": "end"}


def test_rules_are_read_in_both_forms() -> None:
    rules = ["max_steps(5)", "timeout(300)", "max_turns(A <-> B, 5)", {"type": "MaxStepsRule", "max_steps": 5}]
    read = parsed({"nodes": NAMES, "edges": ["A <-> B", "B -> C"], "rules": rules}).rules
    assert read[0] == read[3] == {"type": "MaxStepsRule", "max_steps": 5}
    assert read[1] == {"type": "TimeoutRule", "max_duration_seconds": 300.0}
    assert read[2] == {"type": "MaxTurnsRule", "max_turns": 5, "agents": ["A", "B"], "on_limit": "complete"}


def test_a_hub_of_10_000_is_read_in_a_moment() -> None:
    spokes = [f"W{i}" for i in range(10_000)]
    written = {"nodes": ["H", *spokes], "edges": [f"H <-> {s}" for s in spokes]}
    began = time.process_time()
    assert len(parsed(written).edges) == 10_000
    assert time.process_time() - began < 5  # a bound against a square, not a timing


EDGES = ["A -> B", "A->B", "\tA\n->  B ", "A <-> B", "A<->B"]
NO_EDGES = ["A -> B -> C", "A <-> B -> C", "A -> <-> B", "->", "<->", " -> ", "A ->", "-> B", "A <->", "A - B", ""]


@pytest.mark.parametrize("text", EDGES)
def test_an_edge_has_one_arrow_and_two_ends(text: str) -> None:
    (edge,) = parsed({"nodes": ["A", "B"], "edges": [text], "entry": "A"}).edges
    assert edge == Edge(source="A", target="B", bidirectional="<" in text)


@pytest.mark.parametrize("text", NO_EDGES)
def test_anything_else_is_none(text: str) -> None:
    topology, errors = parse_topology({"nodes": NAMES, "edges": [text]})
    assert topology is None and "is not understood; write 'A -> B' or 'A <-> B'" in errors[0]


BLANK = " " * 990
BLANKS = [f"{BLANK}->", f"->{BLANK}", f"{BLANK}  ", f"A{BLANK}>", f"A{BLANK}->{BLANK}", f"{BLANK}- >"]


@pytest.mark.parametrize("text", BLANKS, ids=range(len(BLANKS)))
def test_thousands_of_edges_of_nothing_but_blanks_are_refused_in_a_moment(text: str) -> None:
    began = time.process_time()
    assert len(parse_topology({"nodes": NAMES, "edges": [text] * 2000})[1]) > 100
    assert time.process_time() - began < 20, "of work: others may be at work beside us"


def test_there_are_more_than_40_ways_to_be_wrong() -> None:
    assert len(invalid()) > 40


@given(st.dictionaries(KEYS, JSON_VALUES, max_size=6) | JSON_VALUES)
def test_parsing_never_raises_and_says_why_it_refuses(value: object) -> None:
    topology, errors = parse_topology(value)
    assert (topology is None) == bool(errors)
    if topology is not None:
        assert parsed(topology.canonical()).canonical() == topology.canonical()


WRITTEN = {
    "hub": {"nodes": [{"name": "H", "dispatch": "all"}, "W1", "W2"], "edges": ["H <-> W1", "H <-> W2"], "entry": "H"},
    "pipeline": {
        "nodes": [*({"name": n, "dispatch": "all"} for n in NAMES), "End"],
        "edges": ["A -> B", "A -> C", "B -> End", "C -> End"],
        "entry": "A",
    },
    "hierarchical": {"nodes": ["Boss", "Lead", "Hand"], "edges": ["Boss <-> Lead", "Lead <-> Hand"], "entry": "Boss"},
    "mesh": {"nodes": NAMES, "edges": ["A <-> B", "A <-> C", "B <-> C"], "entry": "A"},
    "star": {"nodes": ["S", *NAMES], "edges": ["S <-> A", "S <-> B", "S <-> C"], "entry": "S"},
    "ring": {"nodes": NAMES, "edges": ["A -> B", "B -> C", "C -> A"], "entry": "A"},
    "broadcast": {
        "nodes": [{"name": "S", "dispatch": "all"}, *NAMES],
        "edges": ["S -> A", "S -> B", "S -> C"],
    },
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_the_topology_one_would_write(name: str) -> None:
    assert PATTERNS[name]() == parsed(WRITTEN[name])


def test_a_pipeline_in_sequence_is_a_line_and_a_hierarchy_may_name_its_root() -> None:
    line = PatternConfig.pipeline([{"agents": ["A", "B"]}, {"agents": ["C"]}])
    assert line == parsed({"nodes": NAMES, "edges": ["A -> B", "B -> C"]})
    below = PatternConfig.hierarchical({"Lead": ["Hand"], "Boss": ["Lead"]}, root="Boss")
    assert below.entry == ("Boss",) and [n.name for n in below.nodes] == ["Lead", "Hand", "Boss"]


NOBODY = {
    "spokes": lambda: PatternConfig.hub_and_spoke("H", []),
    "agents of stage 1": lambda: PatternConfig.pipeline([{"agents": ["A"]}, {"agents": []}]),
    "agents of stage 0": lambda: PatternConfig.pipeline([{"name": "one"}]),
    "stages": lambda: PatternConfig.pipeline([]),
    "tree": lambda: PatternConfig.hierarchical({}),
    "agents": lambda: PatternConfig.mesh("ABC"),
    "targets": lambda: PatternConfig.broadcast("S", ()),
}


@pytest.mark.parametrize("what", NOBODY)
def test_a_pattern_needs_somebody(what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}: give a list with at least one"):
        NOBODY[what]()


def test_where_paths_meet_is_detected_or_declared() -> None:
    topology = parsed({"nodes": [*NAMES, {"name": "D", "is_convergence_point": False},
                                 {"name": "E", "is_convergence_point": True}, {"name": "P", "kind": "user"}],
                       "edges": ["Start -> C", "A -> C", "B -> C", "C -> C", "A -> D", "B -> D", "A <-> B", "C <-> P",
                                 "A -> P", "C -> E"], "entry": ["A"]})  # fmt: skip
    assert [n for n in [*NAMES, *"DEP"] if topology.is_convergence_point(n)] == ["C", "E"]
    assert [n for n in [*NAMES, *"DEP"] if topology.is_convergence_point(n, auto_detect=False)] == ["E"]
    two = parsed({"nodes": NAMES, "edges": ["Start -> B", "A -> B", "B -> B", "B <-> C"]})
    assert not any(two.is_convergence_point(n) for n in NAMES), "neither Start, nor itself, nor who is also next, count"
