"""Somebody who may publish tries to hurt: every attempt ends with a reason, others are served all the while."""

import asyncio
import json
import os
import pickle
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import orjson

from anabranch_contracts.addresses import EXCHANGE, PARKED_QUEUE
from tests.acceptance import dump
from tests.acceptance.client import Client, client
from tests.processes import house

JSON = Any
AGENTS = "from anabranch import agent\n\n@agent('A')\ndef a(request):\n    return 'fine'\n"
OWNED = Path(tempfile.gettempdir()) / f"anabranch-owned-{os.getpid()}"
"""What is there when something from a message was executed."""
CALL = f"__import__('os').system('touch {OWNED}')"


class Pickled:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {OWNED}",)


GOOD: JSON = {"task": "t", "topology": {"nodes": ["A"]}}
LAYERS = [f"n{layer}_{i}" for layer in range(70) for i in range(70)]
WIDE = [f"n{la}_{i} -> n{la + 1}_{(i + k) % 70}" for la in range(69) for i in range(70) for k in range(2)]
REJECTED: dict[str, tuple[JSON, str]] = {
    "100,000 nodes": ({"topology": {"nodes": [f"n{i}" for i in range(100_000)]}}, "nodes are more than 20000"),
    "a million edges": ({"topology": {"nodes": ["A"], "edges": ["A -> A"] * 700_000}}, "edges are more than 50000"),
    "2,000 rules": ({"topology": {"nodes": ["A"], "rules": ["max_steps(5)"] * 2000}}, "rules are more than 1000"),
    "100,000 unknown settings": ({"config": {f"k{i}": i for i in range(100_000)}}, "unknown setting"),
    "a key of a megabyte": ({"config": {"k" * 1_000_000: 1}}, "config.kkk"),
    "a large context": ({"context": {"a": "x" * 1_000_000}}, "context: has 1000008 bytes"),
    "large labels": ({"labels": {"a": "x" * 100_000}}, "labels: has"),
    "a task for thousands": ({"task": "x" * 50_000, "topology": {"nodes": LAYERS[:4000]}}, "for 4000 entries"),
    "a name too long for a queue": ({"topology": {"nodes": ["語" * 100]}}, "too long for the address of a queue"),
    "a name of escape codes": ({"topology": {"nodes": ["A\x1b[2J"]}}, "control characters"),
    "a name that only looks like User": ({"topology": {"nodes": ["A", "Uѕer"]}}, "too close to the reserved"),
    "a bomb of comprehensions": (
        {"topology": {"nodes": ["A"], "rules": [{"type": "ConditionalRule", "condition":
            "[1,2].map(a, [1,2].map(b, [1,2].map(c, [a,b,c])))"}]}}, "comprehension inside another"),
    "Python in a condition": (
        {"topology": {"nodes": ["A"], "rules": [{"type": "ConditionalRule", "condition":
            CALL}]}}, "condition"),
    "a callable of somebody else": (
        {"topology": {"nodes": ["A"], "rules": [{"type": "ConditionalRule", "condition": "python:os.system:0"}]}},
        "cannot cross a wire"),
}  # fmt: skip
PARKED: dict[str, bytes] = {
    "ten megabytes": b'{"task": "' + b"x" * 10_000_000 + b'"}',
    "100,000 brackets": b"[" * 100_000,
    "200 objects in each other": b'{"a":' * 200 + b"1" + b"}" * 200,
    "a number without end": b'{"task": 1' + b"0" * 5000 + b".0e999999}",
    "a pickle": pickle.dumps(Pickled()),
    "YAML with a tag": f"!!python/object/apply:os.system ['touch {OWNED}']".encode(),
    "half a surrogate": b'{"task": "\\ud800", "topology": {"nodes": ["A"]}}',
}
TAKEN: dict[str, JSON] = {
    "5,000 nodes in layers": {**GOOD, "topology": {"nodes": LAYERS, "edges": WIDE}},
    "100,000 values": {**GOOD, "task": list(range(100_000))},
    "integers beyond 64 bits": {**GOOD, "task": 2**200},
    "templates and paths": {**GOOD, "task": [CALL, f"$(touch {OWNED})", f"`touch {OWNED}`", "{0.__class__}", "%n"]},
    "NUL, and text from right to left": {**GOOD, "task": "a\x00b\u202ec"},
}  # fmt: skip


@asynccontextmanager
async def others(asking: Client) -> AsyncIterator[list[float]]:
    """Somebody else asks for one small run after the other; how long each took."""
    took: list[float] = []

    async def ask() -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            asking.outcomes.clear()
            await asking.publish("run.requested", [orjson.dumps(GOOD)])
            await asking.collect(1, 60)
            assert [outcome["status"] for outcome in asking.outcomes.values()] == ["completed"]
            took.append(clock() - began)

    task = asyncio.create_task(ask())
    try:
        yield took
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()


async def refusals(asking: Client) -> None:
    for what, (body, part) in REJECTED.items():
        run_id = str(uuid4())
        await asking.publish("run.requested", [json.dumps({**GOOD, **body, "run_id": run_id}).encode()])
        await asking.until(lambda run=run_id: run in asking.outcomes, 60)
        outcome = asking.outcomes[run_id]
        assert outcome["status"] == "rejected" and part in outcome["error"]["message"], (what, str(outcome)[:500])
        assert len(orjson.dumps(outcome)) < 3_000_000, what


async def taken(asking: Client) -> None:
    for body in TAKEN.values():
        run_id = str(uuid4())
        await asking.publish("run.requested", [json.dumps({**body, "run_id": run_id}).encode()])
        if len(body["topology"]["nodes"]) > 1:
            while not (await asking.command("run.cancel", run_id=run_id))["accepted"]:  # noqa: ASYNC110 - no signal
                await asyncio.sleep(0.2)  # it may come before the request
        await asking.until(lambda run=run_id: run in asking.outcomes, 60)


async def parked(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange(EXCHANGE)
        for body in PARKED.values():
            await exchange.publish(aio_pika.Message(body), "run.requested")
        for key in ("step.completed", "user.provided", "run.fork"):
            await exchange.publish(
                aio_pika.Message(orjson.dumps({"run_id": str(uuid4()), "branch_id": "b" * 1_000_000})), key
            )
        headers = {f"x{i}": "y" * 900 for i in range(60)}
        await exchange.publish(aio_pika.Message(b"{", headers=headers, reply_to="nobody's"), "run.pause")
    async with asyncio.timeout(60):
        while len(reasons := [reason for reason, _ in await dump.queue(amqp_url, PARKED_QUEUE)]) < len(PARKED) + 4:  # noqa: ASYNC110 - what a queue holds gives no signal
            await asyncio.sleep(0.1)
    assert all(reason != "None" and len(reason) <= 4000 for reason in reasons)


async def everything(amqp_url: str) -> list[float]:
    async with client(amqp_url) as victim, client(amqp_url) as attacker, others(victim) as took:
        await refusals(attacker)
        await parked(amqp_url)
        await taken(attacker)
    return took


def test_every_attempt_ends_with_a_reason_and_others_are_served(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    agents = tmp_path / "agents.py"
    agents.write_text(AGENTS)
    with house(database_url, amqp_url, tmp_path, agents) as all_of_it:
        pids = [p.process.pid for p in all_of_it.all if p.process]
        took = asyncio.run(everything(amqp_url))
        assert pids == [p.process.pid for p in all_of_it.all if p.process and p.process.poll() is None]
    print(f"{len(took)} runs of others, the slowest took {max(took):.1f} s")
    assert len(took) >= 3, took  # each of them in a minute, on a machine that has other work
    assert not OWNED.exists()
    assert "Traceback" not in dump.logs(tmp_path) and "unavailable" not in dump.logs(tmp_path)
