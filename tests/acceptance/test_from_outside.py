"""The system seen from outside: raw AMQP and SQL, nothing of ours imported on either side."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import aio_pika
import asyncpg

from tests.processes import house

TOPOLOGY = {
    "nodes": ["Split", "Left", "Right"],
    "edges": ["Split <-> Left", "Split <-> Right"],
    "entry": "Split",
}


async def _ask(url: str, run_id: str) -> dict[str, object]:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        replies = await channel.declare_queue(exclusive=True)
        answered: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

        async def on_reply(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            assert message.correlation_id == "mine" and message.type == "RunCompleted"
            answered.set_result(json.loads(message.body))

        await replies.consume(on_reply, no_ack=True)
        exchange = await channel.get_exchange("anabranch", ensure=False)
        body = {"run_id": run_id, "task": "go", "topology": TOPOLOGY, "context": {"session_id": "s1"}}
        message = aio_pika.Message(json.dumps(body).encode(), reply_to=replies.name, correlation_id="mine")
        await exchange.publish(message, "run.requested")
        return await asyncio.wait_for(answered, 60)


async def _rows(url: str, run_id: str) -> tuple[asyncpg.Record, list[asyncpg.Record], int]:
    connection = await asyncpg.connect(url)
    try:
        run = await connection.fetchrow("SELECT * FROM anabranch.runs WHERE run_id = $1", run_id)
        steps = await connection.fetch("SELECT * FROM anabranch.steps WHERE run_id = $1 ORDER BY step_id", run_id)
        stuck = await connection.fetchval("SELECT count(*) FROM anabranch.stuck")
        return run, steps, stuck
    finally:
        await connection.close()


def test_any_language_asks_serves_and_reads(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    """RunRequested, a worker of 40 lines, run.completed on reply_to, and plain SQL."""
    script = Path(__file__).parent / "foreign_worker.py"
    assert "anabranch_contracts" not in script.read_text() and "import anabranch" not in script.read_text()
    run_id = str(uuid4())
    with (
        house(database_url, amqp_url, tmp_path),
        subprocess.Popen([sys.executable, str(script), amqp_url], stdout=subprocess.PIPE) as worker,
    ):
        try:
            assert worker.stdout is not None and worker.stdout.readline() == b"serving\n"
            outcome = asyncio.run(_ask(amqp_url, run_id))
        finally:
            worker.kill()
    assert outcome["result"] == ["Left saw s1", "Right saw s1"] and outcome["status"] == "completed"
    run, steps, stuck = asyncio.run(_rows(database_url, run_id))
    assert run["status"] == "completed" and json.loads(run["result"]) == outcome["result"]
    assert [s["step_id"] for s in steps] == ["b0#1", "b0#2", "b0.f1.b0#1", "b0.f1.b1#1"]
    assert all(s["status"] == "completed" for s in steps) and stuck == 0
    assert outcome["metrics"]["total_steps"] == 4  # type: ignore[index]


def test_services_drain_and_leave_with_0(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    agents = tmp_path / "agents.py"
    agents.write_text("from anabranch import agent\n\n@agent('A')\ndef a(request):\n    return request\n")
    with house(database_url, amqp_url, tmp_path, agents) as all_of_it:
        assert [process.terminate() for process in all_of_it.all] == [0, 0, 0]
