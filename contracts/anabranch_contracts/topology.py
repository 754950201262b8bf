"""The topology of a run: one canonical value, whatever form it was written in."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from anabranch_contracts.config import ConvergencePolicy, MemoryPolicy
from anabranch_contracts.rules import parse_rule

JSON = Any
START, END, USER = "Start", "End", "User"
_ARROW = re.compile(r"<->|->")
RESERVED = {START: "start", END: "end", USER: "user"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Node(_Part):
    """One place where control can be. `convergence` and `memory` are partial policies."""

    name: str
    kind: Literal["agent", "user", "start", "end"] = "agent"
    is_convergence_point: bool | None = None
    dispatch: Literal["all", "choose"] | None = None
    convergence: dict[str, JSON] | None = None
    memory: dict[str, JSON] | None = None


class Edge(_Part):
    """Permission to go from `source` to `target`; `bidirectional` both ways (a conversation)."""

    source: str
    target: str
    bidirectional: bool = False
    condition: str | None = Field(default=None, max_length=4000)


def read_node(name: str) -> Node:
    """A node by its name alone."""
    return Node.model_validate({"name": name, "kind": RESERVED.get(name, "agent")})


def read_edge(text: str) -> Edge:
    """`A -> B` or `A <-> B`; raises ValueError."""
    arrows, ends = _ARROW.findall(text), [end.strip() for end in _ARROW.split(text)]
    if len(arrows) != 1 or not all(ends):
        raise ValueError(f"edge {text[:80]!r} is not understood; write 'A -> B' or 'A <-> B'")
    return Edge(source=ends[0], target=ends[1], bidirectional=arrows == ["<->"])


class Topology(BaseModel):
    """The declared graph. Build it by hand, by `PatternConfig`, or by `parse_topology`.

    Nodes, edges and rules may be given, and rules assigned later, as they are written: objects or strings.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    entry: tuple[str, ...] | None = None
    rules: tuple[dict[str, JSON], ...] = ()
    metadata: dict[str, JSON] = Field(default_factory=dict)

    @field_validator("nodes", "edges", mode="before")
    @classmethod
    def _as_written(cls, value: JSON, info: ValidationInfo) -> JSON:
        """Names and arrows as the seed writes them."""
        if not isinstance(value, list | tuple):
            return value
        read = read_edge if info.field_name == "edges" else read_node
        return tuple(read(one) if isinstance(one, str) else one for one in value)

    @field_validator("entry", mode="before")
    @classmethod
    def _one_or_more(cls, value: JSON) -> JSON:
        return (value,) if isinstance(value, str) else value

    @field_validator("rules", mode="before")
    @classmethod
    def _written(cls, value: JSON) -> JSON:
        """Rules in any form become their wire form."""
        if not isinstance(value, list | tuple):
            return value
        read = [parse_rule(rule) for rule in value]
        errors = [error for _, found in read for error in found]
        if errors:
            raise ValueError("; ".join(errors))
        return tuple(rule.wire() for rule, _ in read if rule is not None)

    def canonical(self) -> dict[str, JSON]:
        """The one JSON value of this topology."""
        return self.model_dump(mode="json")

    def content_hash(self) -> str:
        """SHA-256 (hex) of the canonical value."""
        return sha256(orjson.dumps(self.canonical(), option=orjson.OPT_SORT_KEYS)).hexdigest()

    def is_convergence_point(self, name: str, auto_detect: bool = True) -> bool:
        """Whether paths meet at the node: declared so, or detected."""
        return name in convergence_nodes(self.canonical(), auto_detect)


class NodeInput(_Part):
    """A node as an object; only the name is needed."""

    name: str
    kind: Literal["agent", "user", "start", "end"] | None = None
    is_convergence_point: bool | None = None
    dispatch: Literal["all", "choose"] | None = None
    convergence: ConvergencePolicy | None = None
    memory: MemoryPolicy | None = None


class TopologyInput(_Part):
    """A topology as it may be written on the wire; `agents` and `flows` are other names of `nodes` and `edges`."""

    nodes: list[str | NodeInput] | None = None
    agents: list[str | NodeInput] | None = None
    edges: list[str | Edge] | None = None
    flows: list[str | Edge] | None = None
    entry: str | list[str] | None = None
    rules: list[str | dict[str, JSON]] | None = None
    metadata: dict[str, JSON] | None = None


def convergence_nodes(topology: Mapping[str, JSON], auto_detect: bool) -> frozenset[str]:
    """Names of a canonical topology's convergence nodes: declared, or (an agent) with two ways in that are none out."""
    into: dict[str, set[str]] = {}
    onward: dict[str, set[str]] = {}
    for edge in topology["edges"]:
        ends = (edge["source"], edge["target"])
        for a, b in (ends, ends[::-1])[: 1 + bool(edge.get("bidirectional"))]:
            into.setdefault(b, set()).add(a)
            onward.setdefault(a, set()).add(b)
    found = set()
    for node in topology["nodes"]:
        name, declared = node["name"], node.get("is_convergence_point")
        if node.get("kind", "agent") != "agent":
            continue
        if declared is None and auto_detect:
            declared = len(into.get(name, set()) - onward.get(name, set()) - {START, name}) >= 2
        if declared:
            found.add(name)
    return frozenset(found)
