"""Targets: what comes from the broker."""

from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import orjson

from anabranch.agent_worker.steps import completed, read_step, seconds_left
from anabranch.agents.invoke import Answer
from anabranch.runtime.outbox import answer
from anabranch.runtime.ports import Delivery
from anabranch.runtime.reading import Unreadable, read
from anabranch.runtime.tracing import LONGEST, carried
from anabranch_contracts.addresses import ROUTER_KEYS, SUPERVISOR_KEYS
from anabranch_contracts.messages import Usage
from anabranch_contracts.reply_notation import parse_reply
from tests.fuzz.driver import Target
from tests.fuzz.mutating import TEXTS, body, edge, mutated

JSON = Any
MOST_REASON = 10_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN, REQUEST = str(UUID(int=1)), str(UUID(int=2))
STEP = {"run_id": RUN, "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
NEWS = {"run_id": RUN, "branch_id": "b0", "agent": "A", "node": "Meet", "step_id": "b0#1"}
RESULT = {"started_at": "2026-01-01T00:00:00+00:00", "finished_at": "2026-01-01T00:00:01+00:00", "worker": "w",
          "usage": {"input_tokens": 3, "output_tokens": 4, "cost": 0.5}}  # fmt: skip
TOPOLOGY = {"nodes": ["A", {"name": "B"}], "edges": ["A -> B"], "rules": ["max_steps(9)"]}
REPLIES: list[JSON] = [
    "text", 1, None, [1, {"a": "b"}], {"any": "thing"},
    {"next_action": "invoke_agent", "action_input": "B"},
    {"next_action": "invoke_agent", "action_input": {"agent": "B", "request": [1]}, "context_updates": {"k": 1}},
    {"next_action": "parallel_invoke", "agents": ["A", "B"], "agent_requests": {"A": 1}},
    {"next_action": "parallel_invoke", "invocations": [{"agent": "A", "request": 1}, {"agent": "B"}],
     "convergence": {"min_ratio": 0.5, "on_insufficient": "proceed"}, "inherit_memory": True},
    {"next_action": "final_response", "final_response": {"a": 1}},
    {"next_action": "ask_user", "prompt": "?", "choices": ["yes", "no"], "timeout": 3, "default": "yes"},
    {"next_action": "ask_user", "prompt": "?", "schema": {"type": "integer", "minimum": 1}},
    {"next_action": "retry_later", "after_seconds": 2},
    {"next_action": "error_recovery", "error": "no idea"},
    {"next_action": "terminal_error", "error": {"type": "T", "message": "m"}},
    {"next_action": "call", "number": 1, "print": "p", "invocations": [{"agent": "A", "request": 1}]},
    {"next_action": "call", "number": 1, "print": "p", "ask": {"prompt": "?", "choices": [1, 2]}, "timeout": 5},
]  # fmt: skip
BODIES: dict[str, list[JSON]] = {
    "run.requested": [
        {"run_id": RUN, "task": "go", "topology": TOPOLOGY, "context": {"k": 1}, "config": {}, "labels": {"l": 1}},
        {"task": [1], "topology": TOPOLOGY},
    ],
    "step.completed": [{**STEP, **RESULT, "response": reply} for reply in REPLIES],
    "step.failed": [
        {**STEP, **RESULT, "error": {"kind": kind, "type": "T", "message": "m", "retry_after": 1.5}}
        for kind in ("transient", "rate_limit", "recoverable", "terminal", "poison")
    ],
    "user.requested": [{**NEWS, "request_id": REQUEST, "prompt": "?"}],
    "user.provided": [{"run_id": RUN, "request_id": REQUEST, "value": said} for said in ("yes", {"decision": "skip"})],
    "run.cancel": [{"run_id": RUN, "branch_id": "b0", "reason": "r"}, {"run_id": RUN}],
    "run.pause": [{"run_id": RUN, "reason": "r"}],
    "run.resume": [{"run_id": RUN}],
    "run.checkpoint": [{"run_id": RUN, "name": "here"}],
    "run.fork": [{"run_id": RUN, "new_run_id": REQUEST, "at": 2, "topology": TOPOLOGY, "context": {}},
                 {"run_id": RUN, "at": "b0#1"}],
    "run.recover": [{"run_id": RUN}],
}  # fmt: skip
REQUESTED = {**STEP, "step_number": 1, "agent": "A", "request": {"r": 1}, "context": {"run_id": RUN}, "timeout": 600.0,
             "memory": [{"role": "user", "content": "c", "name": "A"}], "can_invoke": ["B", "End"], "steering": "s",
             "deadline": "2026-01-01T00:00:00+00:00", "calls": [{"print": "p", "value": 1}]}  # fmt: skip
HEADERS: list[JSON] = [
    {}, {"traceparent": "00-1-1-01", "tracestate": "a=b"}, {"traceparent": "x" * 600}, {"traceparent": 7},
    {"traceparent": b"\xff", "ce-id": "1", "ce-type": "t", "x-delivery-count": "many"}, {"tracestate": None, "": []},
]  # fmt: skip
IDS = [None, "", RUN, "no uuid", "0" * 32, "{" + RUN + "}", "urn:uuid:" + RUN, "é" * 100, "\0"]


def delivery(random: Random, key: str, data: bytes) -> Delivery:
    """One as a broker may offer it."""
    ids = [random.choice(IDS) for _ in range(3)]
    return Delivery(key, data, *ids, headers=random.choice(HEADERS), redelivered=random.random() < 0.5)


def reading(key: str, random: Random) -> bool:
    """The door of router and supervisor."""
    come = delivery(random, key, body(random, mutated(random, random.choice(BODIES.get(key, [NEWS])))))
    assert all(len(value) <= LONGEST for value in carried(come.headers).values())
    try:
        found = read(come)
    except Unreadable as why:
        said = answer(come, None, lambda: UUID(int=3), str(why))
        assert len(said.body) < MOST_REASON and orjson.loads(said.body)["accepted"] is False, len(said.body)
        return False
    again = read(come)
    if come.message_id:
        assert (again.run_id, again.message_id) == (found.run_id, found.message_id), "a redelivery is another message"
    assert again.message == found.message or key in ("run.requested", "run.fork")
    return True


def step_requested(random: Random) -> bool:
    """The door of a worker."""
    come = delivery(random, "step.requested.A", body(random, mutated(random, REQUESTED)))
    try:
        step = read_step(come)
    except Unreadable as why:
        assert len(str(why)) < MOST_REASON
        return False
    left = seconds_left(step, NOW)
    assert left is None or isinstance(left, float | int)
    return True


def reply(random: Random) -> bool:
    """Any JSON that an agent may answer."""
    found = parse_reply(mutated(random, random.choice(REPLIES)))
    assert len(getattr(found, "reason", "")) < MOST_REASON
    return found.action != "malformed"


class Strange:
    """No JSON of it is obvious."""


PYTHON: list[Any] = [
    {1, 2}, frozenset({"b", "a"}), b"bytes", Strange(), Strange, 2**70, float("nan"), float("inf"), "\ud800",
    UUID(int=1), {1: 2, (1, 2): 3}, {None: 1}, ("a", 1), Usage(cost=1), object, {"a": {Strange(): 1}}, {"\ud800": 1},
]  # fmt: skip


def result(random: Random) -> bool:
    """What Python code returns, on its way to the router: it can be read there, or the step failed with a reason."""
    value = mutated(random, random.choice([*REPLIES, *PYTHON]))
    value = random.choice((value, [value], {"k": value}, {"next_action": "final_response", "content": value}))
    outcome = completed(Answer(value, random.choice((None, Usage(input_tokens=1), edge(random)))))
    kind = outcome.status
    found = read(Delivery(f"step.{kind}", orjson.dumps({**STEP, **outcome.fields})))
    assert str(found.run_id) == RUN
    return kind == "completed"


def keys(random: Random) -> bool:
    """Routing keys that nobody bound."""
    key = random.choice([*BODIES, *["branch.spawned", "branch.x"] * 20, *TEXTS])
    come = delivery(
        random, key + random.choice(("", "", ".x", " ")), body(random, random.choice([NEWS, {"run_id": RUN}]))
    )
    try:
        read(come)
    except Unreadable as why:
        assert len(str(why)) < MOST_REASON
        return False
    return True


TARGETS: dict[str, Target] = {
    **{f"read {key}": partial(reading, key) for key in dict.fromkeys((*ROUTER_KEYS, *SUPERVISOR_KEYS))},
    "routing keys": keys,
    "read step.requested": step_requested,
    "reply": reply,
    "result of Python": result,
}
