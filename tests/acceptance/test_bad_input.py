"""Broken requests end rejected with their reasons, or parked with one; the services do not so much as blink."""

import asyncio
from pathlib import Path

import orjson

from anabranch_contracts.addresses import PARKED_QUEUE
from tests.acceptance.broken import GOOD, KNOWN, invalid, unreadable
from tests.acceptance.client import Client, client
from tests.processes import house

AGENTS = "from anabranch import agent\n\n@agent('A')\ndef a(request):\n    return 'fine'\n"


async def _parked(asking: Client, count: int) -> list[str]:
    inbox = await asking.transport.consume([PARKED_QUEUE], 1000)
    reasons: list[str] = []
    async with asyncio.timeout(60):
        while len(reasons) < count:
            taken = await inbox.take(1000)
            reasons += [str(delivery.headers["reason"]) for delivery in taken]
            await inbox.ack(taken)
    return reasons


async def _good_run(asking: Client, number: int) -> None:
    before = len(asking.outcomes)
    await asking.publish("run.requested", [orjson.dumps({**GOOD, "task": number})])
    await asking.collect(before + 1, 30)


async def _everything_wrong(amqp_url: str) -> None:
    async with client(amqp_url) as asking:
        await asking.publish("run.requested", [orjson.dumps({**GOOD, "run_id": str(KNOWN)})])
        await asking.collect(1, 30)
        await asking.publish("run.requested", unreadable())
        reasons = await _parked(asking, len(unreadable()))
        assert all(reasons)
        assert sum("JSON" in r for r in reasons) >= 10 and any("another content" in r for r in reasons)
        for number, (body, part) in enumerate(invalid()):
            asking.outcomes.clear()
            await asking.publish("run.requested", [body])
            await asking.collect(1, 30)
            (outcome,) = asking.outcomes.values()
            assert outcome["status"] == "rejected", (number, body[:200], outcome)
            assert part in outcome["error"]["message"], (part, outcome["error"]["message"])
        await _good_run(asking, 1)


def test_what_is_broken_is_refused_with_its_reason(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    assert len(unreadable()) + len(invalid()) >= 50
    agents = tmp_path / "agents.py"
    agents.write_text(AGENTS)
    with house(database_url, amqp_url, tmp_path, agents) as all_of_it:
        pids = [p.process.pid for p in all_of_it.all if p.process]
        asyncio.run(_everything_wrong(amqp_url))
        assert all(process.ready() for process in all_of_it.all)
        assert pids == [p.process.pid for p in all_of_it.all if p.process and p.process.poll() is None]
        for log in tmp_path.glob("*.log"):
            assert "dependency lost" not in log.read_text(), log.read_text()[-2000:]


async def _two_errors(amqp_url: str) -> str:
    body = {"task": "t", "topology": {"nodes": ["A", "A"], "edges": ["A -> Z"], "rules": ["no()"]}}
    async with client(amqp_url) as asking:
        await asking.publish("run.requested", [orjson.dumps(body)])
        await asking.collect(1, 30)
        return str(next(iter(asking.outcomes.values()))["error"]["message"])


def test_all_errors_are_listed_at_once(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    with house(database_url, amqp_url, tmp_path):
        message = asyncio.run(_two_errors(amqp_url))
    assert "declared twice" in message and "'Z'" in message and "no()" in message
