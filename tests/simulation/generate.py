"""Random topologies, configurations and agents; agents answer by a hash of what they are asked, never by chance."""

from hashlib import blake2b
from random import Random
from typing import Any

JSON = Any


def topology(random: Random) -> dict[str, JSON]:
    """Two to eight agents with random edges (cycles, self edges, conversations, End), each node reachable."""
    names = [f"N{i}" for i in range(random.randint(2, 8))]
    edges = {(names[random.randrange(i)], names[i]) for i in range(1, len(names))}
    for _ in range(random.randint(0, 2 * len(names))):
        edges.add((random.choice(names), random.choice(names)))
    if random.random() < 0.3:
        edges.add((random.choice(names), "End"))
    both = {edge for edge in edges if random.random() < 0.15 and "End" not in edge and edge[0] != edge[1]}
    edges -= {(b, a) for a, b in both}
    lines = [f"{a} {'<->' if (a, b) in both else '->'} {b}" for a, b in sorted(edges)]
    entries = [names[0], *(n for n in names[1:] if random.random() < 0.1)]
    return {"nodes": [_node(random, n) for n in names], "edges": lines, "entry": entries}


def _node(random: Random, name: str) -> JSON:
    node: dict[str, JSON] = {"name": name}
    if random.random() < 0.5:
        node["dispatch"] = "all"
    if random.random() < 0.2:
        node["is_convergence_point"] = random.random() < 0.7
    if random.random() < 0.2:
        node["convergence"] = _policy(random)
    return node


def _policy(random: Random) -> dict[str, JSON]:
    return {
        "min_ratio": random.choice([0.0, 0.3, 0.5, 0.7, 1.0]),
        "on_insufficient": random.choice(["fail", "proceed"]),
    }


def config(random: Random) -> dict[str, JSON]:
    """Small bounds, so that every run ends soon, and any failure policy."""
    return {
        "max_steps": 300,
        "max_branch_steps": random.randint(3, 8),
        "max_steering": random.randint(0, 2),
        "max_messages": random.randint(2, 6),
        "convergence": _policy(random),
        "retry": {"max_attempts": random.randint(1, 3), "base_delay": 1.0, "max_delay": 4.0},
    }


def chance(*identity: JSON) -> Random:
    """Chance that depends on the identity alone."""
    digest = blake2b(repr(identity).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest))


def answer(seed: int, step: dict[str, JSON]) -> tuple[str, JSON]:
    """What the agent says to this attempt of this step: ("completed", reply) or ("failed", error)."""
    random = chance(seed, step["step_id"], step["attempt"], step["agent"], step["request"])
    roll = random.random()
    if roll < 0.04:
        return "failed", {"kind": "terminal", "type": "Broken", "message": "broken for good"}
    if roll < 0.10:
        return "failed", {"kind": "transient", "type": "Flaky", "message": "try again"}
    if roll < 0.12:
        return "failed", {"kind": "rate_limit", "type": "Busy", "message": "later", "retry_after": 1.5}
    return "completed", _reply(random, step)


def _reply(random: Random, step: dict[str, JSON]) -> JSON:
    can = step["can_invoke"]
    said = f"{step['agent']} at {step['step_id']}"
    roll = random.random()
    depth = step["step_id"].count(".f")
    if roll < 0.05:
        return {"next_action": random.choice(["invoke_agent", "dance", "parallel_invoke"]), "agents": "no list"}
    if roll < 0.25 or not can:
        return {"next_action": "final_response", "final_response": said}
    if roll < 0.45:
        return {"next_action": "invoke_agent", "action_input": {"agent": random.choice(can), "request": said}}
    if roll < 0.70 and depth < 3:
        targets = [random.choice(can) for _ in range(random.randint(1, 4))]
        calls = [{"agent": t, "request": [said, i]} for i, t in enumerate(targets)]
        return {"next_action": "parallel_invoke", "invocations": calls}
    if depth >= 3:
        return {"next_action": "final_response", "final_response": said}
    return said
