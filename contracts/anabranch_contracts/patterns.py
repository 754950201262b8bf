"""The patterns of the seed document, as topologies."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from anabranch_contracts.topology import END, Edge, Node, Topology

JSON = Any


def _nodes(names: Sequence[str], dispatching: Sequence[str] = ()) -> tuple[Node, ...]:
    every = set(dispatching)
    return tuple(Node(name=n, dispatch="all" if n in every else None) for n in dict.fromkeys(names))


def _some(what: str, names: JSON) -> list[JSON]:
    """The names as a list; raises ValueError where there are none."""
    if isinstance(names, str) or not names:
        raise ValueError(f"{what}: give a list with at least one")
    return list(names)


def _stage(number: int, stage: JSON) -> list[JSON]:
    """The agents of a stage; raises ValueError where it names none."""
    if not isinstance(stage, Mapping):
        raise ValueError(f'stage {number}: give {{"name": ..., "agents": [...]}}, not {stage!r:.60}')
    return _some(f"agents of stage {number}", stage.get("agents"))


def _edges(pairs: Sequence[tuple[str, str]], both: bool = False) -> tuple[Edge, ...]:
    return tuple(Edge(source=a, target=b, bidirectional=both) for a, b in dict.fromkeys(pairs))


class PatternConfig:
    """Factories of common topologies."""

    @staticmethod
    def hub_and_spoke(hub: str, spokes: Sequence[str], parallel_spokes: bool = False) -> Topology:
        """The hub talks with each spoke; in parallel, its first content goes to all and it resumes with results."""
        spokes = _some("spokes", spokes)
        nodes = _nodes([hub, *spokes], [hub] if parallel_spokes else [])
        return Topology(nodes=nodes, edges=_edges([(hub, s) for s in spokes], both=True), entry=(hub,))

    @staticmethod
    def pipeline(stages: Sequence[Mapping[str, JSON]], parallel_within_stage: bool = False) -> Topology:
        """Stages `{"name", "agents"}` one after the other; within a stage in parallel, or in the order named.

        What the last stage says is the result: of several agents, the list of what each said.
        """
        groups = [_stage(i, stage) for i, stage in enumerate(_some("stages", stages))]
        if not parallel_within_stage:
            line = [a for group in groups for a in group]
            return Topology(nodes=_nodes(line), edges=_edges(list(pairwise(line))))
        pairs = [(a, b) for here, after in pairwise(groups) for a in here for b in after]
        names = [a for group in groups for a in group]
        ends = [(last, END) for last in groups[-1]]
        nodes = (*_nodes(names, names), Node(name=END, kind="end"))
        return Topology(nodes=nodes, edges=_edges([*pairs, *ends]), entry=tuple(groups[0]))

    @staticmethod
    def hierarchical(tree: Mapping[str, Sequence[str]], root: str | None = None) -> Topology:
        """Who talks with whom below: `{"CEO": ["CTO", "CFO"], "CTO": ["Dev"]}`; the root is the first named."""
        _some("tree", list(tree))
        names = [n for boss, team in tree.items() for n in (boss, *team)]
        pairs = [(boss, member) for boss, team in tree.items() for member in team]
        return Topology(nodes=_nodes(names), edges=_edges(pairs, both=True), entry=(root or names[0],))

    @staticmethod
    def mesh(agents: Sequence[str]) -> Topology:
        """Everybody talks with everybody; the first named starts."""
        agents = _some("agents", agents)
        pairs = [(a, b) for i, a in enumerate(agents) for b in agents[i + 1 :]]
        return Topology(nodes=_nodes(agents), edges=_edges(pairs, both=True), entry=(agents[0],))

    @staticmethod
    def star(center: str, points: Sequence[str]) -> Topology:
        """The points talk with the center, which chooses among them."""
        return PatternConfig.hub_and_spoke(center, points)

    @staticmethod
    def ring(agents: Sequence[str]) -> Topology:
        """Each hands on to the next, the last to the first, who started."""
        agents = _some("agents", agents)
        pairs = list(zip(agents, [*agents[1:], agents[0]], strict=True))
        return Topology(nodes=_nodes(agents), edges=_edges(pairs), entry=(agents[0],))

    @staticmethod
    def broadcast(source: str, targets: Sequence[str]) -> Topology:
        """What the source says goes to all targets in parallel; it is told their answers and says the result."""
        targets = _some("targets", targets)
        return Topology(nodes=_nodes([source, *targets], [source]), edges=_edges([(source, t) for t in targets]))
