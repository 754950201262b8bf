"""Steps that kill their worker, with real processes: offered again at once, poison in the end, and nobody else is."""

import asyncio
import json
import time
from pathlib import Path
from uuid import uuid4

import pytest

from anabranch.agent_worker.app import Worker
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE
from tests.acceptance.client import client
from tests.audit import audit
from tests.integration.worker.bench import Gate, registry
from tests.integration.worker.wire import a_step
from tests.processes import Process, house

HANDS = 8
DELIVERIES = 5
SOON = 2.0  # promised for a killed worker's step
TOPOLOGY = {"nodes": ["Boss", "Killer", "Hand"], "edges": ["Boss -> Killer", "Boss -> Hand"], "entry": "Boss"}
PROCEED = {"convergence": {"min_ratio": 0.5, "on_insufficient": "proceed"}}
TEAM = f"""
import asyncio, os
from anabranch import agent, final_response, parallel_invoke

@agent("Boss")
def boss(request):
    if isinstance(request, list):
        return final_response([[r["agent"], r["status"], (r.get("error") or {{}}).get("kind")] for r in request])
    hands = [{{"agent": "Hand", "request": i}} for i in range({HANDS})]
    return parallel_invoke(invocations=[{{"agent": "Killer"}}, *hands])

@agent("Killer")
async def killer(request):
    with open(os.environ["DEATHS"], "a") as deaths:
        deaths.write("x")
    os._exit(1)

@agent("Hand")
async def hand(request):
    await asyncio.sleep(0.2)
    return request
"""
SLOW = """
import asyncio, os, time
from anabranch import agent

@agent("Slow")
async def slow(request):
    with open(os.environ["STARTS"], "a") as starts:
        starts.write(f"{os.getpid()} {time.time()}\\n")
    await asyncio.sleep(request)
    return "done"
"""


async def kept_alive(worker: Process) -> None:
    """Start a worker anew whenever it has died, as whoever runs it would."""
    while True:
        assert worker.process is not None
        if worker.process.poll() is not None:
            worker.start()
        await asyncio.sleep(0.1)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
async def test_a_step_that_kills_its_workers_is_poison_and_its_neighbours_are_not(
    database_url: str, amqp_url: str, tmp_path: Path, queue_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, deaths, run_id = tmp_path / "poisoned.py", tmp_path / "deaths", uuid4()
    team.write_text(TEAM)
    monkeypatch.setenv("DEATHS", str(deaths))
    monkeypatch.setenv("ANABRANCH_QUEUE_TYPE", queue_type)
    with house(database_url, amqp_url, tmp_path, team) as all_of_it:
        keeping = asyncio.create_task(kept_alive(all_of_it.workers[0]))
        async with client(amqp_url) as asking:
            await asking.request([run_id], TOPOLOGY, config=PROCEED)
            await asking.collect(1, 120)
        keeping.cancel()
    outcome = asking.outcomes[str(run_id)]
    assert outcome["result"] == [["Killer", "failed", "poison"], *[["Hand", "completed", None]] * HANDS]
    assert deaths.read_text() == "x" * DELIVERIES
    await audit(database_url)


def starts(of: Path) -> list[tuple[int, float]]:
    """Which process began, and when."""
    lines = of.read_text().splitlines() if of.exists() else []
    return [(int(pid), float(at)) for pid, _, at in (line.partition(" ") for line in lines)]


async def begun(of: Path, count: int) -> None:
    async with asyncio.timeout(60):
        while len(starts(of)) < count:  # noqa: ASYNC110 - a file has no signal
            await asyncio.sleep(0.01)


async def test_a_killed_workers_step_is_offered_again_at_once(
    database_url: str, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, file = tmp_path / "slow.py", tmp_path / "starts"
    team.write_text(SLOW)
    monkeypatch.setenv("STARTS", str(file))
    with house(database_url, amqp_url, tmp_path, team, replicas=2) as all_of_it:
        async with client(amqp_url) as asking:
            await asking.request([uuid4()], {"nodes": ["Slow"], "edges": []}, task=1.0)
            await begun(file, 1)
            victim = next(w for w in all_of_it.workers if w.process and w.process.pid == starts(file)[0][0])
            killed = time.time()
            victim.kill()
            await begun(file, 2)
            await asking.collect(1, 30)
    again = starts(file)[1][1] - killed
    print(f"\na killed worker's step began elsewhere after {again:.3f} s")
    assert again < SOON


async def test_deploys_are_not_counted_as_losses(amqp_url: str) -> None:
    """A step longer than a worker takes to leave, through more deploys than it may have losses."""
    gate, ask = Gate(), RabbitTransport(amqp_url)
    await ask.connect()
    results = await ask.consume([ROUTER_QUEUE, SUPERVISOR_QUEUE], 10)
    await ask.publish([a_step("Slow", "long")])
    for _ in range(DELIVERIES + 2):
        await deploy(amqp_url, gate)
    gate.go.set()
    await deploy(amqp_url, gate)
    async with asyncio.timeout(20):
        (result,) = await results.take(10)
    assert (result.routing_key, json.loads(result.body)["response"]) == ("step.completed", "long")
    await ask.close()


async def deploy(amqp_url: str, gate: Gate) -> None:
    """A worker comes, begins the step, and leaves in order before that is done."""
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    worker = Worker(transport, registry(Slow=gate), drain_seconds=0.1)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        assert await gate.begun.get() == "long"
        await worker.stop()
        await running
    await transport.close()
