"""Targets: what is read is decided too, in a run that stands anywhere: refused, or recorded and folded to the state."""

import pickle
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import orjson

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.evolve import fold
from anabranch.domain.pending import announcements, pending
from anabranch.domain.projections import draw_rows
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch.runtime.ports import Delivery
from anabranch.runtime.reading import Unreadable, read
from anabranch_contracts.catalog import decode, encode
from anabranch_contracts.messages import RecoverRun
from tests.fuzz.driver import Target
from tests.fuzz.mutating import body, mutated
from tests.fuzz.stored import anywhere, asking, begun
from tests.fuzz.wire import BODIES, REPLIES, STEP
from tests.fuzz.written import CONFIG, TOPOLOGIES
from tests.simulation.generate import config

JSON = Any
NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
DECISIONS = ["retry", "skip", "abort", {"decision": "retry", "request": 1}]
ROUTED = ("run.requested", "step.completed")
NEW = UUID(int=1 << 120)
NOTHING = pickle.dumps(RunState(NEW))


def decided(state: RunState, past: bytes, delivery: Delivery, source: list[Recorded] | None = None) -> bool:
    """Read, decide, tend; the state is what the events fold to, and all that follows can be said and stored.

    `past` is the state before, pickled; `source` is the stream that a fork starts from.
    """
    try:
        message: Any = read(delivery).message
        router = delivery.routing_key in ROUTED
        turn = Turn(state, NOW, UUID(int=5), "router" if router else "supervisor")
        if source is not None:
            message = message.with_source(source)
        (Router() if router else Supervisor()).decide(turn, message)
    except (Unreadable, Refused) as why:
        assert len(str(why)) < 10_000
        return False
    tended = Turn(state, NOW, UUID(int=6), "supervisor")
    if state.version and not state.terminal:
        Supervisor().decide(tended, RecoverRun(run_id=state.run_id))
    _holds(state, past, [*turn.events, *tended.events])
    return True


def _holds(state: RunState, past: bytes, new: list[Recorded]) -> None:
    for one in new:
        kind, version, data = encode(one.event)
        assert encode(decode(kind, version, orjson.loads(data)))[2] == data
    said = [owed for _, owed in announcements(state, new)] + list(pending(state, NOW))
    assert all(orjson.dumps(owed.body) for owed in said)
    assert orjson.dumps([dict(row.values) for row in draw_rows(state)], default=str)
    again = fold(new, pickle.loads(past))
    assert again is not None
    draw_rows(again)
    assert again == state, "the events do not fold to the state"


def _anywhere(random: Random) -> tuple[list[Recorded], bytes, RunState]:
    events, past = anywhere(random)
    return events, past, pickle.loads(past)


def result(random: Random, key: str) -> bool:
    """A result for a step that is asked for, or for any other."""
    _, past, state = _anywhere(random)
    owed = [one.body for one in pending(state, NOW) if one.type == "StepRequested"]
    step = random.choice(owed) if owed else {**STEP, "run_id": str(state.run_id)}
    ids = {name: step[name] for name in ("run_id", "branch_id", "step_id", "attempt")}
    sample = random.choice(BODIES[key])
    made = mutated(random, {**sample, **ids} | ({"response": _reply(random, step)} if key == "step.completed" else {}))
    return decided(state, past, Delivery(key, body(random, made), message_id=str(NEW)))


def _reply(random: Random, step: JSON) -> JSON:
    """An answer that names whom this agent may call."""
    can, sample = step.get("can_invoke") or ["A"], random.choice(REPLIES)
    text = orjson.dumps(sample).decode().replace('"A"', orjson.dumps(can[0]).decode())
    return mutated(random, orjson.loads(text.replace('"B"', orjson.dumps(can[-1]).decode())))


def answered(random: Random) -> bool:
    """A person's answer."""
    past = begun(random.choice(asking()))[1]
    state: RunState = pickle.loads(past)
    request = random.choice(list(state.requests.values()))
    fitting = request.choices or ([3] if request.kind == "question" else DECISIONS)
    made = mutated(random, {"run_id": str(state.run_id), "request_id": request.id, "value": random.choice(fitting)})
    return decided(state, past, Delivery("user.provided", body(random, made), message_id=str(NEW)))


def commanded(random: Random) -> bool:
    """A command, or news that only wake the supervisor."""
    _, past, state = _anywhere(random)
    key = random.choice(["run.cancel", "run.pause", "run.resume", "run.checkpoint", "run.recover"])
    branch = random.choice(list(state.branches)) if state.branches else "b0"
    sample = {**random.choice(BODIES[key]), "run_id": str(state.run_id)}
    made = mutated(random, sample | ({"branch_id": branch} if "branch_id" in sample else {}))
    return decided(state, past, Delivery(key, body(random, made), message_id=str(NEW)))


def forked(random: Random) -> bool:
    """A fork of the run at any place."""
    events, _, state = _anywhere(random)
    sample = {
        "run_id": str(state.run_id),
        "new_run_id": str(NEW),
        "at": random.randint(1, len(events)),
        "context": {"k": 1},
    }
    replaced = {"topology": state.topology} if random.random() < 0.3 and state.topology else {}
    made = mutated(random, {**sample, **replaced})
    return decided(RunState(NEW), NOTHING, Delivery("run.fork", body(random, made), message_id=str(NEW)), events)


def requested(random: Random) -> bool:
    """A request for a new run: it starts or is rejected with reasons, and what was recorded folds."""
    chosen = random.choice([config(random, True), CONFIG, {}])
    made = {
        "run_id": str(NEW),
        "task": "go",
        "topology": random.choice(TOPOLOGIES),
        "config": chosen,
        "context": {"k": 1},
    }
    state = RunState(NEW)
    taken = decided(state, NOTHING, Delivery("run.requested", body(random, mutated(random, made)), message_id=str(NEW)))
    return taken and state.status != "rejected"


TARGETS: dict[str, Target] = {
    "decide run.requested": requested,
    "decide step.completed": partial(result, key="step.completed"),
    "decide step.failed": partial(result, key="step.failed"),
    "decide user.provided": answered,
    "decide commands": commanded,
    "decide run.fork": forked,
}
