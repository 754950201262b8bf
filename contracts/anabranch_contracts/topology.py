"""The topology of a run: one canonical value, whatever form it was written in."""

from hashlib import sha256
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

JSON = Any
START, END, USER = "Start", "End", "User"
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
    condition: str | None = None


class Topology(_Part):
    """The declared graph. Build it by hand, by `PatternConfig`, or by `parse_topology`."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    entry: tuple[str, ...] | None = None
    rules: tuple[dict[str, JSON], ...] = ()
    metadata: dict[str, JSON] = Field(default_factory=dict)

    def canonical(self) -> dict[str, JSON]:
        """The one JSON value of this topology."""
        return self.model_dump(mode="json")

    def content_hash(self) -> str:
        """SHA-256 (hex) of the canonical value."""
        return sha256(orjson.dumps(self.canonical(), option=orjson.OPT_SORT_KEYS)).hexdigest()
