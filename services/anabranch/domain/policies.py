"""Which convergence policy a fork is under: the run's, narrowed by where it leads, who opens it, and the reply.

A policy that a convergence node declares governs the forks whose every invocation leads there: that is where
people look for it.
"""

from collections.abc import Sequence
from typing import Any

from anabranch.domain.state import RunState

JSON = Any


def root_policy(state: RunState) -> dict[str, JSON]:
    """The policy of the fork that the entries form."""
    return {**state.config.get("convergence", {}), **_met(state, state.graph.entries)}


def fork_policy(state: RunState, node: str, targets: Sequence[str], own: dict[str, JSON] | None) -> dict[str, JSON]:
    """The policy of a fork that `node` opens."""
    declared = state.graph.node[node].get("convergence") or {}
    return {**state.config.get("convergence", {}), **_met(state, targets), **declared, **(own or {})}


def _met(state: RunState, targets: Sequence[str]) -> dict[str, JSON]:
    """What the nearest convergence node says that every target is, or leads to."""
    graph = state.graph
    where = [y for y in graph.declared_policies if all(t == y or graph.reaches(t, y) for t in set(targets))]
    nearest = min(where, key=lambda y: (graph.upstream[y], graph.index[y]), default=None)
    return dict(graph.node[nearest]["convergence"]) if nearest is not None else {}
