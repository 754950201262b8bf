"""The broker is wiped under running services, with steps in flight: all work is offered again, by itself."""

import asyncio
import os
import time
from pathlib import Path
from uuid import uuid4

import asyncpg
import orjson
import pytest

from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import step_queue
from tests import services
from tests.acceptance.client import client
from tests.audit import audit
from tests.processes import house

STEPS = int(os.environ.get("ANABRANCH_WIPED_STEPS", "300"))  # `make bench-wipe` takes 10,000
WIDTH = 10
SECONDS = 60  # promised for 10,000 steps
TOPOLOGY = {
    "nodes": ["Boss", "Hand", {"name": "Meet", "is_convergence_point": True}],
    "edges": ["Boss -> Hand", "Hand -> Meet"],
}
TEAM = f"""
from anabranch import agent, final_response, parallel_invoke

@agent("Boss")
def boss(request):
    return parallel_invoke(invocations=[{{"agent": "Hand", "request": i}} for i in range({WIDTH})])

@agent("Meet")
def meet(request):
    return final_response(sum(record["result"] for record in request))
"""
HANDS = """
from anabranch import agent

@agent("Hand")
async def hand(request):
    return request * 2
"""
ASKED = "SELECT count(*) FROM anabranch.steps WHERE agent = 'Hand' AND status = 'requested'"


async def until(database_url: str, statement: str, count: int, seconds: float) -> None:
    """Wait for a count; SQL has no signal."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(seconds):
            while await connection.fetchval(statement) != count:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def offered(amqp_url: str, steps: int) -> float:
    """Seconds until each of so many steps is in a queue of its agent."""
    began, found = time.monotonic(), set[tuple[str, str]]()
    transport = RabbitTransport(amqp_url)
    async with asyncio.timeout(SECONDS):
        await transport.connect()
        await transport.declare_steps(["Hand"])
        inbox = await transport.consume([step_queue("Hand")], 2 * steps)
        while len(found) < steps:
            bodies = [orjson.loads(delivery.body) for delivery in await inbox.take(steps)]
            found |= {(body["run_id"], body["step_id"]) for body in bodies}
    taken = time.monotonic() - began
    await transport.close()
    return taken


@pytest.mark.timeout(900)
async def test_a_wiped_broker_is_given_all_work_again(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    team, hands = tmp_path / "wiped_team.py", tmp_path / "wiped_hands.py"
    team.write_text(TEAM)
    hands.write_text(HANDS)
    run_ids = [uuid4() for _ in range(STEPS // WIDTH)]
    steps = len(run_ids) * WIDTH
    with house(database_url, amqp_url, tmp_path, team) as all_of_it:
        async with client(amqp_url) as asking:
            await asking.request(run_ids, TOPOLOGY)
            await until(database_url, ASKED, steps, 200)
        services.wipe(amqp_url)
        seconds = await offered(amqp_url, steps)
        print(f"\n{steps} steps in flight, broker wiped: all offered again in {seconds:.1f} s")
        worker = all_of_it.workers[0]
        worker.terminate()
        worker.environment["ANABRANCH_AGENTS"] = f"{team},{hands}"
        worker.start().await_ready()
        await until(database_url, "SELECT count(*) FROM anabranch.runs WHERE status = 'completed'", len(run_ids), 200)
    connection = await asyncpg.connect(database_url)
    results = {row["result"] for row in await connection.fetch("SELECT result FROM anabranch.runs")}
    await connection.close()
    assert results == {str(2 * sum(range(WIDTH)))}
    await audit(database_url)
