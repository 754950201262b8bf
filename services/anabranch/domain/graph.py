"""Questions to a topology: entries, successors, reachability, convergence nodes.

Reachability ("a path of one or more edges") is kept as one bit mask per node: bit i of `into[y]` says that
node i reaches y. Nodes of one strongly connected component share their mask, so the masks are computed once
per component, in topological order.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from anabranch.domain.rules import Rules
from anabranch_contracts.topology import END, START, convergence_nodes

__all__ = ["END", "START", "Graph", "components", "graph_of"]


class Graph:
    """A topology, prepared for the questions of routing and convergence; immutable after construction."""

    def __init__(self, topology: Mapping[str, Any], auto_detect: bool = True) -> None:
        nodes = topology["nodes"]
        self.names: list[str] = [n["name"] for n in nodes]
        self.index = {name: i for i, name in enumerate(self.names)}
        self.node: dict[str, Mapping[str, Any]] = {n["name"]: n for n in nodes}
        self.successors: dict[str, list[str]] = {name: [] for name in self.names}
        self.predecessors: dict[str, list[str]] = {name: [] for name in self.names}
        self.conversational: set[tuple[str, str]] = set()
        self.conditions: dict[tuple[str, str], str] = {}
        for edge in topology["edges"]:
            self._connect(edge)
        self.successor_sets = {name: frozenset(to) for name, to in self.successors.items()}
        self.entries = self._entries(topology)
        self._reachability()
        self.convergence = convergence_nodes(topology, auto_detect)
        self.declared_policies = [n for n in self.names if n in self.convergence and self.node[n].get("convergence")]
        self.rules = Rules(topology["rules"])

    def _connect(self, edge: Mapping[str, Any]) -> None:
        a, b = edge["source"], edge["target"]
        pairs = [(a, b), (b, a)][: 1 + (bool(edge.get("bidirectional")) and a != b)]
        for pair in pairs:
            self._arrow(*pair)
            if edge.get("condition"):
                self.conditions[pair] = edge["condition"]
        if len(pairs) > 1:
            self.conversational |= {(a, b), (b, a)}

    def _arrow(self, a: str, b: str) -> None:
        self.successors[a].append(b)
        self.predecessors[b].append(a)

    def _entries(self, topology: Mapping[str, Any]) -> list[str]:
        if START in self.index:
            found = list(dict.fromkeys(self.successors[START]))
        elif topology.get("entry"):
            found = list(topology["entry"])
        else:
            targets = {edge["target"] for edge in topology["edges"]}
            found = [n for n in self.names if n not in targets and n != END] or self.names[:1]
        beyond_user = [s for e in found for s in (self.successors[e] if self.is_user(e) else [e])]
        return list(dict.fromkeys(e for e in beyond_user if not self.is_user(e)))

    def is_user(self, name: str) -> bool:
        """Whether a person sits at the node."""
        return self.node[name].get("kind") == "user"

    def _reachability(self) -> None:
        component = components(self.names, self.predecessors)
        members: dict[int, int] = {}
        for name, c in component.items():
            members[c] = members.get(c, 0) | 1 << self.index[name]
        closed: dict[int, int] = {}
        by_component: dict[int, list[str]] = {}
        for name, c in component.items():
            by_component.setdefault(c, []).append(name)
        for c in sorted(members):  # components are numbered predecessors first
            mask = 0
            for name in by_component[c]:
                for p in self.predecessors[name]:
                    q = component[p]
                    mask |= members[c] if q == c else members[q] | closed[q]
            closed[c] = mask
        self.into = {name: closed[c] for name, c in component.items()}
        self.upstream = {name: (closed[c] & ~members[c]).bit_count() for name, c in component.items()}

    def bit(self, name: str) -> int:
        """The mask of one node."""
        return 1 << self.index[name]

    def mask(self, names: Iterable[str]) -> int:
        """The mask of some nodes."""
        return reduce(or_, map(self.bit, names), 0)

    def reaches(self, source: str, target: str) -> bool:
        """Whether a path of one or more edges leads from `source` to `target`."""
        return bool(self.into[target] >> self.index[source] & 1)

    @property
    def user(self) -> str | None:
        """The node of a person, if the topology has one."""
        return next((n for n in self.names if self.is_user(n)), None)

    def answers_to(self, user: str, asking: str) -> str | None:
        """Where an answer given at `user` goes: back to who asked, else on to the sole successor."""
        onward = self.successors[user]
        return asking if asking in onward else onward[0] if len(onward) == 1 else None

    def dispatches(self, name: str) -> bool:
        """Whether content of this node forks to all successors."""
        return self.node[name].get("dispatch") == "all"

    def unreachable(self) -> list[str]:
        """Nodes that no entry reaches, in declaration order."""
        seen = set(self.entries) | {START}
        frontier = list(self.entries)
        while frontier:
            fresh = [s for s in self.successors[frontier.pop()] if s not in seen]
            seen.update(fresh)
            frontier.extend(fresh)
        return [n for n in self.names if n not in seen and not (self.is_user(n) and self._feeds(n, seen))]

    def _feeds(self, user: str, seen: set[str]) -> bool:
        return any(s in seen for s in self.successors[user])


def components(names: Sequence[str], edges: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Strongly connected component of each node, numbered so that what `edges` lead to comes first (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    found: dict[str, int] = {}
    stack: list[str] = []
    for root in names:
        if root in number:
            continue
        work = [(root, iter(edges[root]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        while work:
            name, rest = work[-1]
            child = next((c for c in rest if c not in found), None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == number[name]:
                    _close(name, stack, found)
            elif child in number:
                low[name] = min(low[name], number[child])
            else:
                number[child] = low[child] = len(number)
                stack.append(child)
                work.append((child, iter(edges[child])))
    return found


def _close(root: str, stack: list[str], found: dict[str, int]) -> None:
    component = len(found)  # any number works that grows from one component to the next
    while True:
        name = stack.pop()
        found[name] = component
        if name == root:
            return


MOST_PREPARED = 1024
_PREPARED: dict[tuple[str, bool], Graph] = {}  # asked a dozen times a step


def graph_of(topology: Mapping[str, Any], content_hash: str, auto_detect: bool) -> Graph:
    """The prepared graph of a canonical topology, shared by all runs that pin the same content."""
    graph = _PREPARED.get((content_hash, auto_detect))
    if graph is None:
        if len(_PREPARED) >= MOST_PREPARED:
            _PREPARED.pop(next(iter(_PREPARED)), None)
        graph = _PREPARED[content_hash, auto_detect] = Graph(topology, auto_detect)
    return graph
