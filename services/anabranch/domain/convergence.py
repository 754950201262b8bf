"""When and how a convergence node fires (semantics 5).

A node fires when nothing live elsewhere can still reach it; `quiescent` breaks the ties of cycles. Who goes on
there: the owner of the deepest fork that the tokens have in common, if that fork came here whole (rule 1); the
single branch itself (rule 2); else a new branch inside that fork (rule 3).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from anabranch.domain.evolving.forks import firing_id
from anabranch.domain.occupancy import count, enclosing, unreachable
from anabranch.domain.sizes import affordable
from anabranch.domain.state import ROOT, Fork, Order, RunState, Token
from anabranch.domain.stepping import too_many_branches
from anabranch.domain.turn import Turn
from anabranch_contracts.events import BranchConverged

JSON = Any


def ripe(state: RunState) -> str | None:
    """The next convergence node to fire: one that nothing can reach any more, or the first at quiescence."""
    if not state.parked:
        return None
    index = state.graph.index
    node = unreachable(state, sorted(state.parked, key=index.__getitem__))
    if node is not None or state.active or state.settled:
        return node
    return min(state.parked, key=lambda n: (state.graph.upstream[n], index[n]))


def fire(turn: Turn, node: str) -> None:
    """Let everything parked at `node` go on there as one branch."""
    state = turn.state
    tokens = sorted((state.tokens[t] for t in state.parked[node]), key=lambda t: t.order)
    fork = deepest_common_fork(state, tokens)
    continues, into, order = _continuation(state, node, fork, tokens)
    if continues == "new" and too_many_branches(turn, 1):
        return
    first = datetime.fromisoformat(min(t.since for t in tokens))
    turn.record(
        BranchConverged(
            convergence_id=firing_id(state, node),
            node=node,
            fork_id=fork.id,
            tokens=[t.id for t in tokens],
            into_branch_id=into,
            continues=continues,
            order=order,
            value=affordable([_record(t) for t in tokens]),
            wait_time=(turn.now - first).total_seconds(),
        )
    )


def _record(token: Token) -> dict[str, JSON]:
    return {"agent": token.agent, "branch_id": token.id, "status": "completed", "result": token.value}


def _continuation(state: RunState, node: str, fork: Fork, tokens: list[Token]) -> tuple[str, str, Order]:
    if fork.id != ROOT and came_whole(state, fork, node, tokens):
        assert fork.owner is not None
        return "owner", fork.owner, state.branches[fork.owner].order
    if len(tokens) == 1 and tokens[0].is_branch:
        return "token", tokens[0].id, tokens[0].order
    place, firing = state.graph.index[node], state.firings.get(node, 0) + 1
    prefix = f"{fork.id}." if fork.id != ROOT else ""
    epoch = f"v{state.epoch}" if state.epoch else ""  # another topology's places would name other nodes
    return "new", f"{prefix}c{place}{epoch}.{firing}", [*_base(state, fork), 1, place, firing]


def _base(state: RunState, fork: Fork) -> Order:
    """The place in the tree under which the fork's own tokens stand."""
    if fork.owner is None:
        return []
    return [*state.branches[fork.owner].order, int(fork.id.rsplit(".f", 1)[1])]


def deepest_common_fork(state: RunState, tokens: Iterable[Token]) -> Fork:
    """The innermost fork that holds all tokens; the root fork if nothing closer does."""
    chains = [list(enclosing(state, f))[::-1] for f in {t.fork_id for t in tokens}]
    common = chains[0][0]
    for level in zip(*chains, strict=False):
        if any(fork.id != level[0].id for fork in level):
            break
        common = level[0]
    return common


def came_whole(state: RunState, fork: Fork, node: str, tokens: Iterable[Token]) -> bool:
    """Rule 1: every token the fork ever had is here, waits for inner forks that are, or ended on the way."""
    here: dict[str, int] = {}
    for token in tokens:
        count(here, token.fork_id, 1)
    inner = {f.id: f for t in set(here) for f in enclosing(state, t) if f.depth > fork.depth}
    for one in sorted(inner.values(), key=lambda f: -f.depth):
        if _covered(state, one, node, here.get(one.id, 0)):
            assert one.owner is not None
            count(here, state.branches[one.owner].fork_id, 1)
    return _covered(state, fork, node, here.get(fork.id, 0))


def _covered(state: RunState, fork: Fork, node: str, here: int) -> bool:
    if fork.doubtful or fork.arrivals or fork.returns:  # who waits inside an agent's code does not go elsewhere
        return False
    graph = state.graph
    ended_on_the_way = sum(n for at, n in fork.ended_at.items() if at in graph.index and graph.reaches(at, node))
    return here + ended_on_the_way == fork.ever
