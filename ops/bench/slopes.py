"""Law 7 measured: time per child of a fork as it widens, time per turn as a conversation grows, bytes per turn.

`make bench` prints ratios of one run in one process (memory transport and RabbitMQ, real Postgres, no-op agents).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median
from typing import Any
from uuid import UUID

import orjson
from tests import services

from anabranch.branch_supervisor import app as supervisor
from anabranch.router import app as router
from anabranch.runtime.ids import uuid7
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing, Transport
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import step_queue

JSON = Any
FAN = {"nodes": ["Hub", "Spoke"], "edges": ["Hub <-> Spoke"], "entry": "Hub"}
MEET = {
    "nodes": ["Hub", "Spoke", {"name": "Meet", "is_convergence_point": True}],
    "edges": ["Hub -> Spoke", "Spoke -> Meet"],
}
TALK = {"nodes": ["Ann", "Bob"], "edges": ["Ann <-> Bob"]}
AGENTS = ("Hub", "Spoke", "Meet", "Ann", "Bob")


class Bench:
    """Services in this process, and a worker whose agents cost nothing."""

    def __init__(self, transports: list[Transport], store: PostgresStore) -> None:
        self.asking, self.working, *others = transports
        self.store = store
        self.services = [router.actor(store, others[0]), supervisor.actor(store, others[1])]
        self.width = self.turns = 0
        self.marks: list[float] = []

    def answer(self, step: JSON) -> JSON:
        """What the no-op agents say."""
        match step["agent"]:
            case "Hub" if step["step_number"] == 1:
                calls = [{"agent": "Spoke", "request": i} for i in range(self.width)]
                return {"next_action": "parallel_invoke", "invocations": calls}
            case "Hub" | "Meet":
                return {"next_action": "final_response", "final_response": len(step["request"])}
            case "Ann" | "Bob":
                self.marks.append(time.perf_counter())
                over = len(self.marks) > 2 * self.turns
                return {"next_action": "final_response", "final_response": "bye"} if over else "a reply of some length"
            case _:
                return "done"

    async def work(self) -> None:
        """Serve all steps."""
        await self.working.declare_steps(AGENTS)
        inbox = await self.working.consume([step_queue(a) for a in AGENTS], 256)
        while steps := await inbox.take(256):
            await self.working.publish([self._result(orjson.loads(s.body)) for s in steps])
            await inbox.ack(steps)

    def _result(self, step: JSON) -> Outgoing:
        ids = {k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")}
        body = orjson.dumps({**ids, "response": self.answer(step)})
        return Outgoing("step.completed", body, uuid7(), "StepCompleted")

    async def run(self, topology: JSON) -> tuple[UUID, float]:
        """Seconds from request to outcome."""
        queue = await self.asking.declare_reply_queue()
        inbox = await self.asking.consume([queue], 10)
        run_id, began = uuid7(), time.perf_counter()
        body = orjson.dumps(
            {"run_id": run_id, "task": "t", "topology": topology, "config": {"max_branch_steps": 100_000}}
        )
        await self.asking.publish([Outgoing("run.requested", body, uuid7(), "RunRequested", reply_to=queue)])
        (outcome,) = await inbox.take(1)
        seconds = time.perf_counter() - began
        assert orjson.loads(outcome.body)["status"] == "completed", outcome.body[:500]
        await inbox.stop()
        return run_id, seconds


@asynccontextmanager
async def bench(transports: list[Transport], store: PostgresStore) -> AsyncIterator[Bench]:
    """A bench at work."""
    for transport in transports:
        await transport.connect()
    made = Bench(transports, store)
    tasks = [asyncio.create_task(s.run()) for s in made.services] + [asyncio.create_task(made.work())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in transports:
            await transport.close()


async def forks(made: Bench, name: str, topology: JSON) -> None:
    """Time per child at 100, 1,000 and 10,000 children."""
    per_child: list[float] = []
    for made.width in (100, 1_000, 10_000):
        _, seconds = await made.run(topology)
        per_child.append(seconds / made.width)
        print(f"  {name} 1 -> {made.width} -> 1: {per_child[-1] * 1000:.3f} ms a child")
    print(f"  {name}: ratio 10,000 / 1,000 = {per_child[2] / per_child[1]:.2f}  (bar 1.5)")


async def conversation(made: Bench, turns: int = 2_000) -> None:
    """The last 100 turns against the first 100, and bytes stored in each half."""
    made.turns, made.marks = turns, []
    run_id, _ = await made.run(TALK)
    steps = [b - a for a, b in pairwise(made.marks)]
    first, last = median(steps[:200]), median(steps[-200:])  # medians: one pause of the machine is no slope
    print(f"  {turns} turns: last 100 / first 100 = {last / first:.2f}  (bar 1.2)")
    sizes = await stored(made.store, run_id, 10)
    print(f"  bytes stored per turn, in tenths of the run: {[round(s / (turns / 10)) for s in sizes]}")


async def stored(store: PostgresStore, run_id: UUID, parts: int) -> list[int]:
    """Bytes of event data in equal parts of the stream."""
    statement = "SELECT version, pg_column_size(e.*) AS size FROM anabranch.events e WHERE run_id = $1 ORDER BY version"
    async with store.engine.connect() as connection:
        rows = (await connection.exec_driver_sql(statement, (run_id,))).all()
    edges = [round(i * len(rows) / parts) for i in range(parts + 1)]
    return [sum(row.size for row in rows[a:b]) for a, b in pairwise(edges)]


async def measure(name: str, transports: list[Transport], database_url: str) -> None:
    """All slopes on one transport."""
    print(name)
    store = PostgresStore(database_url)
    async with bench(transports, store) as made:
        await forks(made, "fork", FAN)
        await forks(made, "convergence", MEET)
        await conversation(made)
    await store.close()


def main() -> None:
    """Find the services, measure both transports."""
    with services.postgres() as server, services.fresh_database(server) as database_url:
        asyncio.run(upgrade(database_url))
        broker = MemoryBroker()
        asyncio.run(measure("memory transport", [MemoryTransport(broker) for _ in range(4)], database_url))
        with services.rabbitmq() as mq, services.fresh_vhost(mq) as url:
            asyncio.run(measure("RabbitMQ, quorum queues", [RabbitTransport(url) for _ in range(4)], database_url))


if __name__ == "__main__":
    main()
