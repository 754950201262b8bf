"""What agents and people say: drawn from all that they are told, never from chance, so that schedules can be compared.

Because memory and context go into the draw, a schedule that changed either would change what follows.
"""

from hashlib import blake2b
from random import Random
from typing import Any

from tests.simulation.generate import policy

JSON = Any
DEEPEST = 3


def chance(*identity: JSON) -> Random:
    """Chance that depends on the identity alone."""
    digest = blake2b(repr(identity).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest))


def agent(seed: int, loose: bool, step: dict[str, JSON]) -> tuple[str, dict[str, JSON]]:
    """The result of this attempt: ("completed" or "failed", the fields of its body)."""
    context = {k: v for k, v in step["context"].items() if k != "run_id"}  # a fork of the run has another
    told = (step["step_id"], step["agent"], step["request"], step["memory"], sorted(context.items()))
    random = chance(seed, step["attempt"], len(step.get("calls", ())), *told)
    usage = {"input_tokens": random.randint(0, 5), "output_tokens": random.randint(0, 5)}
    roll = random.random()
    if roll < 0.04:
        error = {"kind": random.choice(["terminal", "recoverable", "poison"]), "type": "Broken", "message": "for good"}
    elif roll < 0.10:
        error = {"kind": "transient", "type": "Flaky", "message": "try again"}
    elif roll < 0.12:
        error = {"kind": "rate_limit", "type": "Busy", "message": "later", "retry_after": 1.5}
    else:
        called = chance(seed, "script", *told)
        calling = _call(called, step) if called.random() < 0.12 and step["can_invoke"] else None
        return "completed", {"response": calling or _reply(random, loose, step), "usage": usage}
    return "failed", {"error": error, "usage": usage}


def _call(random: Random, step: dict[str, JSON]) -> JSON:
    """The next call of an agent whose code makes some before it answers; None when all were made."""
    wanted, made = random.randint(1, 3), len(step.get("calls", ()))
    if made >= wanted or step["step_id"].count(".f") >= DEEPEST:
        return None
    one = chance(step["step_id"], made)
    call: dict[str, JSON] = {"next_action": "call", "number": made + 1, "print": f"call {made}"}
    if one.random() < 0.2:
        return {**call, "ask": {"prompt": "well?", "choices": ["yes", "no"]}}
    agents = [a for a in step["can_invoke"] if a not in ("User", "End")] or step["can_invoke"]
    return {**call, "invocations": [{"agent": one.choice(agents), "request": i} for i in range(one.randint(1, 3))]}


def _reply(random: Random, loose: bool, step: dict[str, JSON]) -> JSON:
    can = step["can_invoke"]
    said = f"{step['agent']} at {step['step_id']}"
    more = {"context_updates": {"k": random.randint(0, 9)}} if random.random() < 0.2 else {}
    roll = random.random()
    depth = step["step_id"].count(".f")
    if roll < 0.05:
        return {"next_action": random.choice(["invoke_agent", "dance", "parallel_invoke"]), "agents": "no list"}
    if roll < 0.07:
        return {"next_action": "retry_later", "after_seconds": 2}
    if roll < 0.09:
        return {"next_action": random.choice(["error_recovery", "terminal_error"]), "error": "no idea"}
    if roll < 0.14:
        return {"next_action": "ask_user", "prompt": said, **_terms(random, loose), **more}
    if roll < 0.27 or not can:
        return {"next_action": "final_response", "final_response": said, **more}
    if roll < 0.45:
        return {"next_action": "invoke_agent", "action_input": {"agent": random.choice(can), "request": said}, **more}
    if roll < 0.70 and depth < DEEPEST:
        return {**_parallel(random, loose, can, said), **more}
    if depth >= DEEPEST:
        return {"next_action": "final_response", "final_response": said}
    return said


def _terms(random: Random, loose: bool) -> dict[str, JSON]:
    terms: dict[str, JSON] = {}
    if random.random() < 0.3:
        terms = {"choices": ["left", "right"], "default": "left"}
    elif random.random() < 0.3:
        terms = {"schema": {"type": "integer", "minimum": 1}, "default": 1}
    return {**terms, "timeout": random.choice([0.5, 3.0])} if loose and random.random() < 0.5 else terms


def _parallel(random: Random, loose: bool, can: list[str], said: str) -> JSON:
    targets = [random.choice(can) for _ in range(random.randint(1, 4))]
    calls = [{"agent": t, "request": [said, i]} for i, t in enumerate(targets)]
    reply: dict[str, JSON] = {"next_action": "parallel_invoke", "invocations": calls}
    if random.random() < 0.2:
        reply["convergence"] = policy(random, loose)
    if random.random() < 0.2:
        reply["inherit_memory"] = random.random() < 0.5
    return reply


def person(seed: int, request: dict[str, JSON]) -> JSON:
    """A person's answer to an open user request (a row)."""
    random = chance(seed, "person", request["branch_id"], request["kind"], request["prompt"])
    if request["kind"] in ("error", "fork"):
        decision = random.choice(["retry", "skip", "skip", "abort"])
        if decision == "retry" and request["kind"] == "error" and random.random() < 0.5:
            return {"decision": "retry", "request": "asked anew"}
        return decision
    if request["choices"]:
        return random.choice(request["choices"])
    return random.randint(1, 9) if request["schema"] else f"answer {random.randint(0, 9)}"
