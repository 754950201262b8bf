"""Fifty and more ways to get `run.requested` wrong."""

import gzip
import json
from typing import Any
from uuid import UUID

JSON = Any
KNOWN = UUID(int=0xC0FFEE)
GOOD: dict[str, JSON] = {"task": "t", "topology": {"nodes": ["A"], "edges": []}}


def _with(**changes: JSON) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def _topology(nodes: JSON = ("A", "B"), edges: JSON = ("A -> B",), **more: JSON) -> bytes:
    return _with(topology={"nodes": nodes, "edges": edges, **more})


def unreadable() -> list[bytes]:
    """Bodies that no program can take for a request: parked."""
    deep = b'{"task": ' + b"[" * 5000 + b"]" * 5000 + b', "topology": {"nodes": ["A"]}}'
    return [
        b"",
        b"not json",
        b"{",
        b"[]",
        b'"a text"',
        b"null",
        b"42",
        b"\xff\xfe\x00\x01",
        json.dumps(GOOD).encode("utf-16"),
        '{"task": "ä", "topology": {}}'.encode("latin-1"),
        gzip.compress(json.dumps(GOOD).encode()),
        deep,
        b'{"task": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"task": "' + b"x" * 20_000_000 + b'"}',
        _with(run_id="not a uuid"),
        _with(run_id=5),
        _with(run_id=["a"]),
        b'{"task": NaN, "topology": {"nodes": ["A"]}}',
        b'{"task": "\\ud800", "topology": {"nodes": ["A"]}}',
        json.dumps({**GOOD, "run_id": str(KNOWN), "task": "another"}).encode(),
    ]


def invalid() -> list[tuple[bytes, str]]:
    """Requests that cannot run, and a part of the reason: rejected."""
    policy = {"convergence": {"min_ratio": 2}}
    return [
        (b"{}", "task"),
        (b'{"task": "t"}', "topology"),
        (b'{"topology": {"nodes": ["A"]}}', "task"),
        (_with(task2="t"), "task2"),
        (_with(context=[1]), "context"),
        (_with(config="fast"), "config"),
        (_with(labels=7), "labels"),
        (_with(topology=None), "topology"),
        (_with(topology=[]), "topology"),
        (_with(topology="A -> B"), "topology"),
        (_topology(nodes=[]), "no nodes"),
        (_topology(nodes="A"), "nodes must be a list"),
        (_topology(nodes=["A", "A", "B"]), "declared twice"),
        (_topology(nodes=["A", 7, "B"]), "7"),
        (_topology(nodes=["A", "", "B"]), "1 to 128"),
        (_topology(nodes=["A", "B", "x" * 200]), "1 to 128"),
        (_topology(nodes=["A", "B*"]), "B*"),
        (_topology(nodes=["A", "B#"]), "B#"),
        (_topology(nodes=["A", "B\n"]), "control"),
        (_topology(nodes=["A", "B", "user"]), "User"),
        (_topology(nodes=["A", "B", "END"]), "End"),
        (_topology(nodes=["A", {"name": "B", "colour": "red"}]), "colour"),
        (_topology(nodes=["A", {"title": "B"}]), "name"),
        (_topology(nodes=["A", {"name": "B", "kind": "robot"}]), "kind"),
        (_topology(nodes=["A", {"name": "B", "dispatch": "some"}]), "dispatch"),
        (_topology(nodes=["A", {"name": "B", **policy}]), "min_ratio"),
        (_topology(edges=["A -> C"]), "'C'"),
        (_topology(edges=["A B"]), "not understood"),
        (_topology(edges=["A -> B -> A"]), "not understood"),
        (_topology(edges=[7]), "not understood"),
        (_topology(edges=["A -> B", "A -> B"]), "declared twice"),
        (_topology(edges=["A -> B", "End -> A"]), "End"),
        (_topology(edges=["A -> B", "A -> Start"]), "Start"),
        (_topology(edges=["A -> B", "B -> User"]), "no way back"),
        (_topology(edges=[{"source": "A"}]), "target"),
        (_topology(edges={"A": "B"}), "edges must be a list"),
        (_topology(entry="C"), "entry"),
        (_topology(entry=[]), "entry"),
        (_topology(entry=["A", "A"]), "twice"),
        (_topology(nodes=["A", "B", "C"], entry="A"), "no entry reaches node 'C'"),
        (_topology(rules=["be_nice(1)"]), "be_nice"),
        (_topology(rules=["max_steps(many)"]), "max_steps"),
        (_topology(rules=[{"type": "MaxStepsRule", "max_steps": 0}]), "max_steps"),
        (_topology(rules=[{"type": "NoRule"}]), "NoRule"),
        (_topology(colour="red"), "colour"),
        (_topology(agents=["A"]), "both spellings"),
        (_topology(metadata="m"), "metadata"),
        (_with(config={"max_steps": 0}), "max_steps"),
        (_with(config={"speed": 9}), "speed"),
        (_with(config=policy), "min_ratio"),
        (_with(config={"retry": {"max_attempts": "many"}}), "max_attempts"),
    ]
