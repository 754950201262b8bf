"""Somebody says secrets wherever one can; afterwards no table, queue or log has any of them."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import orjson
import pytest

from anabranch_contracts.addresses import EXCHANGE, PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE
from tests.acceptance import dump
from tests.acceptance.client import Client, client
from tests.acceptance.secretive import __file__ as AGENTS
from tests.acceptance.secretive import secret
from tests.processes import house

JSON = Any
TEAM = {
    "nodes": ["Teller", "Aside", "Left", "Right"],
    "edges": ["Teller -> Aside", "Teller -> Left", "Teller -> Right"],
    "metadata": {"key": secret("metadata")},
}
CONFIG = {"convergence": {"min_ratio": 0.5, "on_insufficient": "proceed"}}


def request(**more: JSON) -> dict[str, JSON]:
    told = {"context": secret("context"), "labels": secret("labels"), "config": CONFIG}
    return {"run_id": str(uuid4()), "task": secret("task"), "topology": TEAM, **told, **more}


async def _raw(amqp_url: str, key: str, body: bytes, headers: JSON) -> None:
    """As a client that knows nothing of what is to be left out."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE)
        await exchange.publish(aio_pika.Message(body, headers=headers), key)


async def _one_run(asking: Client, asked: JSON) -> None:
    """A whole run, with a question that is answered wrongly, a foreign worker's late words, and a fork."""
    run_id = asked["run_id"]
    await asking.publish("run.requested", [orjson.dumps(asked)])
    await asking.until(lambda: bool(asking.questions), 30)
    (question,) = asking.questions
    told = {"run_id": run_id, "request_id": question["request_id"]}
    refused = await asking.command("user.provided", **told, value=[{"api_key": "hush-refused"}])
    assert refused["accepted"] is False
    assert (await asking.command("user.provided", **told, value=secret("answer")))["accepted"] is True
    await asking.collect(1, 30)
    step = {"run_id": run_id, "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
    await asking.publish("step.completed", [orjson.dumps({**step, "response": secret("late")})])
    forked = await asking.command("run.fork", run_id=run_id, at=3, context=secret("forked context"))
    assert forked["accepted"] is True
    told = {"run_id": forked["run_id"], "reason": "because Api-Key: hush-reason"}
    assert (await asking.command("run.cancel", **told))["accepted"] is True


async def _what_is_refused(asking: Client, amqp_url: str) -> None:
    wrong = [request(topology={"nodes": [], "metadata": secret("rejected")}), request(config=secret("config"))]
    await asking.publish("run.requested", [orjson.dumps(body) for body in wrong])
    await asking.publish("run.requested", [orjson.dumps(request(run_id="none"))])
    await asking.publish("run.cancel", [orjson.dumps({"run_id": str(uuid4()), **secret("command")})])
    unreadable = [
        b'{"api_key": "hush-broken',
        b'{"api\\u005fkey": "hush-broken", ' + b"[" * 400,
        b"\xffapi_key hush-broken",
    ]
    deep = b'{"a": ' * 300 + b'{"API_KEY": "hush-deep"}' + b"}" * 300
    for body in [*unreadable, deep]:
        await _raw(amqp_url, "run.requested", body, {"Api-Key": "hush-header", "traceparent": "t"})


async def _everything(database_url: str, amqp_url: str) -> tuple[str, list[tuple[str, str]]]:
    asked = request()
    async with client(amqp_url) as asking:
        await asking.listen()
        await _one_run(asking, asked)
        await _what_is_refused(asking, amqp_url)
        await asking.collect(4, 30)
        heard = str([asking.outcomes, asking.questions])
        asking.outcomes.clear()
        again = {**asked, "task": {**secret("task"), "api-key": "hush-new"}}
        await asking.publish("run.requested", [orjson.dumps(again)])
        await asking.collect(1, 30)  # what was left out makes no difference: it is the same request
    assert "hush" not in heard
    return await dump.database(database_url), await _held(amqp_url)


async def _held(amqp_url: str) -> list[tuple[str, str]]:
    async with asyncio.timeout(30):
        while len(parked := await dump.queue(amqp_url, PARKED_QUEUE)) < 7:  # noqa: ASYNC110 - what a queue holds gives no signal
            await asyncio.sleep(0.1)
    for name in (ROUTER_QUEUE, SUPERVISOR_QUEUE):
        parked += await dump.queue(amqp_url, name)
    return parked


def test_no_secret_is_stored_parked_or_logged(
    database_url: str, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_REDACT_KEYS", "api_key, password")
    monkeypatch.setenv("ANABRANCH_LOG_LEVEL", "debug")
    with house(database_url, amqp_url, tmp_path, AGENTS):
        stored, held = asyncio.run(_everything(database_url, amqp_url))
    places = ("task", "context", "labels", "metadata", "call", "called", "prompt", "answer", "fork", "updates", "reply")
    assert all(f'"kept": "{place}"' in stored for place in places)
    assert "no luck" in stored and "[redacted]" in stored
    for where, text in (("database", stored), ("queues", str(held)), ("logs", dump.logs(tmp_path))):
        found = text.find("hush")
        assert found < 0, f"{where}: {text[max(0, found - 300) : found + 100]}"
    assert all(reason != "None" for reason, _ in held)
