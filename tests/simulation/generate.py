"""Random topologies and configurations. `loose`: with what depends on time by its nature (clocks, eager, fail-fast)."""

from dataclasses import dataclass
from random import Random
from typing import Any

from anabranch_contracts.patterns import PatternConfig

JSON = Any


@dataclass(frozen=True, slots=True)
class Size:
    """How far a world may go: agents, steps of a branch, invocations of a fork, forks in forks.

    `haste` is how likely an agent is to be done, for each step that its branch has behind it.
    """

    agents: tuple[int, int]
    steps: tuple[int, int]
    width: int
    depth: int
    haste: float


TINY = Size((2, 2), (1, 2), 2, 1, 0.20)
SMALL = Size((2, 3), (2, 3), 2, 1, 0.10)
MIDDLING = Size((3, 5), (3, 5), 3, 2, 0.10)
LARGE = Size((4, 9), (3, 8), 4, 3, 0.08)


def size(random: Random) -> Size:
    """Most worlds are small or less; `world` says why."""
    return random.choices((TINY, SMALL, MIDDLING, LARGE), (50, 38, 10, 2))[0]


CONDITIONS = [
    "branch.steps < 3",
    "!('k' in context) || context.k < 5",
    "step.agent != 'N1' || branch.steps % 2 == 0",
    "type(step.response) == string",
]


def topology(random: Random, loose: bool = False, size: Size = LARGE) -> JSON:
    """Agents with random edges (cycles, self edges, conversations, End, User), each reachable; or a known pattern."""
    names = [f"N{i}" for i in range(random.randint(*size.agents))]
    if random.random() < 0.1:
        return _pattern(random, names)
    edges = {(names[random.randrange(i)], names[i]) for i in range(1, len(names))}
    for _ in range(random.randint(0, 2 * len(names))):
        edges.add((random.choice(names), random.choice(names)))
    if random.random() < 0.3:
        edges.add((random.choice(names), "End"))
    both = {edge for edge in sorted(edges) if random.random() < 0.15 and "End" not in edge and edge[0] != edge[1]}
    edges -= {(b, a) for a, b in both}
    lines = [_edge(random, a, b, (a, b) in both) for a, b in sorted(edges)] + _user(random, names)
    entries = [names[0], *(n for n in names[1:] if random.random() < 0.1)]
    nodes = [_node(random, n, loose) for n in names]
    return {"nodes": nodes, "edges": lines, "entry": entries, "rules": _rules(random, loose)}


def _pattern(random: Random, names: list[str]) -> JSON:
    first, rest, some = names[0], names[1:], random.random() < 0.5
    stages = [{"name": n, "agents": [n]} for n in names[:-2]] + [{"name": "last", "agents": names[-2:]}]
    made = random.choice(
        [
            lambda: PatternConfig.hub_and_spoke(first, rest, parallel_spokes=some),
            lambda: PatternConfig.pipeline(stages, parallel_within_stage=some),
            lambda: PatternConfig.hierarchical({first: rest}),
            lambda: PatternConfig.mesh(names),
            lambda: PatternConfig.ring(names),
            lambda: PatternConfig.broadcast(first, rest),
        ]
    )
    return made().canonical()


def _edge(random: Random, a: str, b: str, both: bool) -> JSON:
    if random.random() < 0.1:
        return {"source": a, "target": b, "bidirectional": both, "condition": random.choice(CONDITIONS)}
    return f"{a} {'<->' if both else '->'} {b}"


def _user(random: Random, names: list[str]) -> list[str]:
    """Edges to a person, each answerable."""
    roll = random.random()
    if roll < 0.25:
        return [f"{n} <-> User" for n in random.sample(names, random.randint(1, 2))]
    if roll < 0.4:
        return [f"{random.choice(names)} -> User", f"User -> {random.choice(names)}"]
    return []


def _node(random: Random, name: str, loose: bool) -> JSON:
    node: dict[str, JSON] = {"name": name}
    if random.random() < 0.5:
        node["dispatch"] = "all"
    if random.random() < 0.2:
        node["is_convergence_point"] = random.random() < 0.7
    if random.random() < 0.2:
        node["convergence"] = policy(random, loose)
    if random.random() < 0.2:
        node["memory"] = {"retention": random.choice(["last_n", "single_step", "none"])}
    return node


def policy(random: Any, loose: bool) -> dict[str, JSON]:
    """A convergence policy."""
    chosen: dict[str, JSON] = {
        "min_ratio": random.choice([0.0, 0.3, 0.5, 0.7, 1.0]),
        "on_insufficient": random.choice(["fail", "proceed", "proceed", "user"]),
    }
    if loose:
        chosen["eager"] = random.random() < 0.3
        chosen["fail_fast"] = random.random() < 0.3
        chosen["timeout"] = random.choice([None, None, 1.0, 5.0])
        chosen["on_timeout"] = random.choice(["fail", "proceed", "user"])
        chosen["terminate_orphans"] = random.random() < 0.5
    return chosen


def _rules(random: Random, loose: bool) -> list[JSON]:
    rules: list[JSON] = [
        {"type": "MaxTurnsRule", "max_turns": random.randint(1, 2), "on_limit": random.choice(["complete", "fail"])},
        {"type": "MaxParallelBranchesRule", "max_parallel_branches": random.randint(1, 3)},
        {"type": "MaxBranchesRule", "max_branches": random.randint(1, 8)},
        {"type": "MaxStepsRule", "max_steps": random.randint(1, 12)},
        {"type": "BudgetRule", "max_tokens": random.randint(2, 60)},
        {"type": "BudgetRule", "max_cost": random.randint(1, 20) / 100},
        {"type": "MemoryLimitRule", "max_messages": random.randint(0, 4)},
        _conditional(random, ["allow", "block", "terminate", "pause"]),
    ]
    if loose:
        rules += [{"type": "TimeoutRule", "max_duration_seconds": random.choice([2.0, 10.0])}]
        rules += [_conditional(random, ["notify_user", "pause"])] * 3
    return [rule for rule in rules if random.random() < 0.12]


def _conditional(random: Random, actions: list[str]) -> JSON:
    action = random.choice(actions)
    condition = "branch.steps < 4" if action == "allow" else "branch.steps >= 3"
    return {"type": "ConditionalRule", "condition": condition, "action": action}


def config(random: Random, loose: bool = False, size: Size = LARGE) -> dict[str, JSON]:
    """Small bounds, so that every run ends soon, and any failure policy."""
    return {
        "max_steps": 300,
        "max_branch_steps": random.randint(*size.steps),
        "max_steering": random.randint(0, 2),
        "max_messages": random.randint(2, 6),
        "inherit_memory": random.random() < 0.3,
        "convergence": policy(random, loose),
        "retry": {"max_attempts": random.randint(1, 3), "base_delay": 1.0, "max_delay": 4.0},
        "max_in_flight": random.choice((1, 2, 256, 256, 256)),
    }
