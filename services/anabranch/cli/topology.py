"""Check and draw topologies."""

from pathlib import Path
from typing import Any

import orjson

from anabranch.cli.output import as_json
from anabranch.client.orchestra import checked
from anabranch.domain.graph import Graph
from anabranch_contracts.errors import AnabranchError
from anabranch_contracts.topology import Topology

JSON = Any


def read_topology(file: Path) -> JSON:
    """The JSON of a topology file."""
    try:
        return orjson.loads(file.read_bytes())
    except OSError as error:
        raise AnabranchError(f"{file}: {error.strerror}", hint="name a JSON file with nodes and edges") from None
    except orjson.JSONDecodeError as error:
        raise AnabranchError(
            f"{file} is not JSON: {error}", hint='it looks like {"nodes": [...], "edges": [...]}'
        ) from None


def check(file: Path, *, json: bool = False) -> None:
    """Say all that is wrong with a topology file, or that nothing is. Exit code 2 when it cannot run.

    Parameters
    ----------
    file
        a JSON file
    json
        print the canonical topology as JSON
    """
    topology = checked(read_topology(file))
    graph = Graph(topology.canonical())
    if json:
        as_json({"hash": topology.content_hash(), "topology": topology.canonical()})
        return
    print(f"valid: {len(graph.names)} nodes, {len(topology.edges)} edges, starts at {', '.join(graph.entries)}")


def show(file: Path, *, json: bool = False) -> None:
    """Draw a topology: where it starts, who may invoke whom, where paths meet.

    Parameters
    ----------
    file
        a JSON file
    json
        print the graph's properties as JSON
    """
    topology = checked(read_topology(file))
    graph = Graph(topology.canonical())
    if json:
        as_json({"entries": graph.entries, "convergence": sorted(graph.convergence), "successors": graph.successors})
        return
    print(picture(topology, graph))


def picture(topology: Topology, graph: Graph) -> str:
    """The graph as text, in the order control meets the nodes; `*` starts, `◆` is where paths meet."""
    order, seen = list(graph.entries), set(graph.entries)
    for name in order:
        fresh = [s for s in graph.successors[name] if s not in seen]
        seen.update(fresh)
        order.extend(dict.fromkeys(fresh))
    width = max(len(n) for n in graph.names) + 2
    lines = [_line(graph, name, width) for name in order]
    return "\n".join([*lines, "", "* starts   ◆ paths meet   → goes to   ⇉ to all at once   ↔ conversation"])


def _line(graph: Graph, name: str, width: int) -> str:
    mark = "*" if name in graph.entries else "◆" if name in graph.convergence else " "
    arrow = "⇉" if graph.dispatches(name) and len(graph.successors[name]) > 1 else "→"
    targets = [f"↔ {s}" if (name, s) in graph.conversational else s for s in graph.successors[name]]
    onward = f"{arrow} {', '.join(targets)}" if targets else ""
    return f"{mark} {name:{width}}{onward}".rstrip()
