"""From any written form of a topology to the one canonical value, with all that is wrong named at once."""

from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import ValidationError

from anabranch_contracts.addresses import step_queue
from anabranch_contracts.config import parse_memory, parse_policy
from anabranch_contracts.errors import place
from anabranch_contracts.lookalikes import looks_like
from anabranch_contracts.rules import MaxTurnsRule, Rule, parse_rule
from anabranch_contracts.topology import END, RESERVED, START, Edge, Node, Topology, read_edge

JSON = Any
KEYS = {"nodes": "nodes", "agents": "nodes", "edges": "edges", "flows": "edges"}
KNOWN = (*KEYS, "entry", "rules", "metadata")
MAX_NODES, MAX_EDGES, MAX_NAME, MAX_METADATA = 20_000, 50_000, 128, 256 * 1024
MOST_VALUES = 2_000_000
MAX_ADDRESS = 255  # of a queue, where a name is written by its bytes
MAX_ERRORS, MAX_NESTING = 200, 32


def parse_topology(value: JSON) -> tuple[Topology | None, list[str]]:
    """Read a topology in any of its forms; never raises; errors name the culprit and the mend."""
    if isinstance(value, Topology):
        value = value.model_dump()
    elif callable(getattr(value, "to_dict", None)) and not isinstance(value, type):
        value = value.to_dict()
    if not isinstance(value, dict):
        return None, ["topology: must be an object with nodes and edges"]
    if nested_deeper_than(value, MAX_NESTING):
        return None, [f"topology: is nested deeper than {MAX_NESTING}; flatten its metadata"]
    reading = _Reading()
    topology = reading.read(value)
    return (None, reading.errors[:MAX_ERRORS]) if reading.errors or topology is None else (topology, [])


def nested_deeper_than(value: JSON, limit: int) -> bool:
    """Whether containers are nested more than `limit` deep; a container that holds itself is."""
    layer = [value]
    for _ in range(limit + 1):
        layer = [c for v in layer if isinstance(v, dict | list | tuple) for c in _inside(v)]
        if not layer:
            return False
        if len(layer) > MOST_VALUES:
            return True
    return True


def _inside(value: JSON) -> Iterable[JSON]:
    return value.values() if isinstance(value, dict) else value


class _Reading:
    """One pass over a written topology, collecting errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], Edge] = {}
        self._taken: set[tuple[str, str]] = set()

    def read(self, value: dict[str, JSON]) -> Topology | None:
        parts = self._keys(value)
        self._read_nodes(parts.get("nodes"))
        self._read_edges(parts.get("edges"))
        if not self.errors:
            self._reserved()
        entry = self._entry(value.get("entry"))
        rules = self._rules(value.get("rules"))
        metadata = self._metadata(value.get("metadata"))
        if self.errors:
            return None
        nodes, edges = tuple(self.nodes.values()), tuple(self.edges.values())
        return Topology(nodes=nodes, edges=edges, entry=entry, rules=rules, metadata=metadata)

    def _wrong(self, message: str) -> None:
        self.errors.append(f"topology: {message}")

    def _keys(self, value: dict[str, JSON]) -> dict[str, JSON]:
        parts: dict[str, JSON] = {}
        for key, part in value.items():
            if key not in KNOWN:
                self._wrong(f"unknown key {str(key)[:80]!r}; known are {', '.join(KNOWN)}")
            elif key in KEYS and KEYS[key] in parts:
                self._wrong(f"both spellings of {KEYS[key]} are given; keep one")
            elif key in KEYS:
                parts[KEYS[key]] = part
        return parts

    def _list(self, value: JSON, what: str, most: int) -> list[JSON]:
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self._wrong(f"{what} must be a list")
            return []
        if len(value) > most:
            self._wrong(f"{len(value)} {what} are more than {most}; split the work")
            return []
        return list(value)

    def _read_nodes(self, value: JSON) -> None:
        listed = self._list(value, "nodes", MAX_NODES)
        if not listed and not self.errors:
            self._wrong("has no nodes; name at least one agent")
        for item in listed:
            node = self._node(item)
            if node is not None and node.name in self.nodes:
                self._wrong(f"node {node.name!r} is declared twice; remove one")
            elif node is not None:
                self.nodes[node.name] = node

    def _node(self, item: JSON) -> Node | None:
        fields = {"name": item} if isinstance(item, str) else item
        if isinstance(item, Node):
            fields = item.model_dump()
        if not isinstance(fields, dict):
            self._wrong(f"node {str(item)[:80]!r} must be a name or an object with a name")
            return None
        name = fields.get("name")
        if not self._named(name, "node"):
            return None
        kind = RESERVED.get(str(name), "agent")
        given = fields.get("kind") or kind
        if name in RESERVED and given != kind:
            self._wrong(f"node {name!r} is reserved for kind {kind}; leave kind out or rename it")
            return None
        if given in ("start", "end") and name not in RESERVED:
            proper = "Start" if given == "start" else "End"
            self._wrong(
                f"node {name!r}: kind {given} belongs to the reserved name {proper}; rename it or leave kind out"
            )
            return None
        node: Node | None = self._build(Node, {**fields, "kind": given}, f"node {name!r}")
        return node

    def _named(self, name: JSON, what: str) -> bool:
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
            self._wrong(f"{what} name {str(name)[:80]!r} must be a text of 1 to {MAX_NAME} characters")
            return False
        if any(c in "*#" or not c.isprintable() for c in name):
            self._wrong(f"{what} name {name!r} may not contain '*', '#' or control characters; rename it")
            return False
        if len(step_queue(name)) > MAX_ADDRESS:
            self._wrong(f"{what} name {name!r} is too long for the address of a queue; shorten it")
            return False
        seen = looks_like(name)
        proper = next((r for r in RESERVED if r.lower() == seen), name)
        if proper != name:
            self._wrong(f"{what} name {name!r} is too close to the reserved {proper!r}; write {proper!r} or rename")
            return False
        return True

    def _build(self, model: type[Any], fields: dict[str, JSON], where: str) -> Any:
        try:
            built = model.model_validate(fields)
        except ValidationError as error:
            for e in error.errors():
                mend = "unknown key, remove it" if e["type"] == "extra_forbidden" else e["msg"]
                self._wrong(f"{where}: {place(e['loc'])}: {mend}")
            return None
        if isinstance(built, Node) and built.convergence is not None:
            self.errors += parse_policy(built.convergence, f"topology: {where}: convergence")
        if isinstance(built, Node) and built.memory is not None:
            self.errors += parse_memory(built.memory, f"topology: {where}: memory")
        return built

    def _read_edges(self, value: JSON) -> None:
        for item in self._list(value, "edges", MAX_EDGES):
            edge = self._edge(item)
            if edge is not None and self._ends(edge):
                self._add(edge)

    def _edge(self, item: JSON) -> Edge | None:
        if isinstance(item, Edge):
            return item
        if isinstance(item, dict):
            built: Edge | None = self._build(Edge, item, f"edge {str(item)[:80]}")
            return built
        try:
            return read_edge(item if isinstance(item, str) else f"{str(item)[:60]} is no text")
        except ValueError as error:
            self._wrong(str(error))
            return None

    def _ends(self, edge: Edge) -> bool:
        return all([self._known(edge.source, edge), self._known(edge.target, edge)])

    def _known(self, name: str, edge: Edge) -> bool:
        if name in self.nodes:
            return True
        if name in RESERVED:
            self.nodes[name] = Node(name=name, kind=RESERVED[name])
            return True
        if self._named(name, "edge end"):
            self._wrong(f"edge {edge.source!r} -> {edge.target!r}: unknown node {name!r}; declare it in nodes")
        return False

    def _add(self, edge: Edge) -> None:
        pairs = [(edge.source, edge.target)]
        if edge.bidirectional and edge.source != edge.target:
            pairs.append((edge.target, edge.source))
        taken = [p for p in pairs if p in self._taken]
        if taken:
            self._wrong(f"edge {taken[0][0]!r} -> {taken[0][1]!r} is declared twice; remove one")
            return
        self._taken.update(pairs)
        self.edges[pairs[0]] = edge

    def _reserved(self) -> None:
        users = {n.name for n in self.nodes.values() if n.kind == "user"}
        onward: set[str] = set()
        for edge in self.edges.values():
            both = [(edge.source, edge.target), (edge.target, edge.source)][: 1 + edge.bidirectional]
            for source, target in both:
                onward.add(source)
                if target == START:
                    self._wrong(f"edge {source!r} -> 'Start': nothing leads to Start; remove it")
                if source == END:
                    self._wrong(f"edge 'End' -> {target!r}: nothing follows End; remove it")
                if (source, target) == (START, END):
                    self._wrong("edge 'Start' -> 'End': no agent stands between; name one")
        for user in sorted(users - onward):
            self._wrong(f"node {user!r} has no way back; add an edge from it to the agent that goes on")
        if all(n.kind in ("start", "end", "user") for n in self.nodes.values()):
            self._wrong("has no agent; name at least one")

    def _entry(self, value: JSON) -> tuple[str, ...] | None:
        if value is None:
            return None
        names = [value] if isinstance(value, str) else self._list(value, "entry", MAX_NODES)
        if not names and not self.errors:
            self._wrong("entry names nobody; leave it out or name a node")
        for name in names:
            if not isinstance(name, str) or name not in self.nodes or name in (START, END):
                self._wrong(f"entry {str(name)[:80]!r} is no node that can start; name an agent")
        if len({str(n) for n in names}) != len(names):
            self._wrong("entry names a node twice; remove one")
        return tuple(str(n) for n in names)

    def _rules(self, value: JSON) -> tuple[dict[str, JSON], ...]:
        read: list[Rule] = []
        for item in self._list(value, "rules", 1000):
            rule, errors = parse_rule(item)
            self.errors += [f"topology: {e}" for e in errors]
            read += [rule] if rule is not None else []
            for name in (rule.agents or ()) if isinstance(rule, MaxTurnsRule) else ():
                if name not in self.nodes:
                    self._wrong(f"rules: MaxTurnsRule: unknown node {name[:80]!r}; name two that talk with each other")
        return tuple(rule.wire() for rule in read)

    def _metadata(self, value: JSON) -> dict[str, JSON]:
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            self._wrong("metadata must be an object with texts as keys")
            return {}
        try:
            size = len(orjson.dumps(value))
        except (TypeError, RecursionError) as error:  # orjson's own error is a TypeError
            self._wrong(f"metadata must be JSON: {error}")
            return {}
        if size > MAX_METADATA:
            self._wrong(f"metadata has {size} bytes, the limit is {MAX_METADATA}")
        return value
