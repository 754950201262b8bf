"""A failing case made small: fewer faults, then less topology and fewer rules, as long as it still fails.

Each cut is tried by playing the case again; what counts as the same failure is its kind, for words change with names.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.simulation.faults import MOST
from tests.simulation.laws import Case, Violation, calmly, judged
from tests.simulation.run import APART

JSON = Any
MOST_TRIES = 400


def _failure(case: Case) -> str | None:
    """What kind of failure the case has; None = it holds."""
    try:
        judged(case, calmly(case))
    except Violation as broken:
        return type(broken.cause).__name__
    except Exception as broken:  # the calm world itself
        return type(broken).__name__
    return None


def shrink(case: Case) -> Case:
    """The smallest case that was found to fail in the same way."""
    case = _alone(case)
    calm = calmly(case)
    case = replace(case, topology=calm.topology, config=calm.config)
    kind, tries = _failure(case), 0
    if case.faulty and case.only is None and kind is not None:
        case = replace(case, only=list(range(1, 2 * MOST)))
    smaller = True
    while smaller and kind is not None:
        smaller = False
        for candidate in _smaller(case):
            tries += 1
            if tries > MOST_TRIES:
                return case
            if _failure(candidate) == kind:
                case, smaller = candidate, True
                break
    return case


def _alone(case: Case) -> Case:
    """The case with one run only, whichever of its runs fails by itself in the same way; else as it is."""
    if not case.beside:
        return case
    kind, others = _failure(case), range(1, case.beside + 1)
    alone = replace(case, beside=0)
    drawn = [replace(alone, seed=case.seed + n * APART, topology=None, config=None) for n in others]
    return next((one for one in [alone, *drawn] if _failure(one) == kind), case)


def _smaller(case: Case) -> Iterator[Case]:
    """Each case with a little less, the largest cuts first."""
    if case.only:
        half = len(case.only) // 2
        cuts = [case.only[half:], case.only[:half]] if half else []
        for only in [*cuts, *([n for n in case.only if n != one] for one in case.only)]:
            yield replace(case, only=only)
    if case.beside:
        yield replace(case, beside=case.beside - 1)
    yield from (replace(case, topology=topology) for topology in _simpler(case.topology))
    for name in case.config:
        yield replace(case, config={k: v for k, v in case.config.items() if k != name})


def _simpler(topology: JSON) -> Iterator[JSON]:
    for node in topology["nodes"][1:]:
        yield _without(topology, node["name"])
    for part in ("edges", "rules"):
        listed = topology.get(part) or []
        for i in range(len(listed)):
            yield {**topology, part: listed[:i] + listed[i + 1 :]}
    for i, node in enumerate(topology["nodes"]):
        for name in sorted(node.keys() - {"name"}):
            less = {k: v for k, v in node.items() if k != name}
            yield {**topology, "nodes": [*topology["nodes"][:i], less, *topology["nodes"][i + 1 :]]}


def _without(topology: JSON, gone: str) -> JSON:
    def touches(edge: JSON) -> bool:
        ends = edge.replace("<->", "->").split(" -> ") if isinstance(edge, str) else [edge["source"], edge["target"]]
        return gone in ends

    entry = topology.get("entry") or []
    return {
        **topology,
        "nodes": [n for n in topology["nodes"] if n["name"] != gone],
        "edges": [edge for edge in topology["edges"] if not touches(edge)],
        "entry": [n for n in ([entry] if isinstance(entry, str) else entry) if n != gone],
    }
