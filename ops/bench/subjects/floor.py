"""The floor: what a durable orchestrator over RabbitMQ and Postgres cannot leave out, by hand, and nothing else.

Two asyncio processes. The router takes what has piled up, appends two event rows a step for the whole batch in one
transaction, publishes what follows with confirms, acks. The worker takes what has piled up, runs agents, publishes
the results with confirms, acks. Quorum queues, persistent messages, fsync as the server is set. There is no topology,
no check, no lock, no table but the log, and the state of a run is lost with the process.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import orjson
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from ops.bench.drive import AMQP_URL, DATABASE_URL, drive
from ops.bench.subjects import agent

JSON = Any
RUNS, RESULTS, STEPS = "floor.runs", "floor.results", "floor.steps"
PREFETCH = 512
TABLE = """CREATE TABLE IF NOT EXISTS events (
    position bigint GENERATED ALWAYS AS IDENTITY, run_id uuid NOT NULL, version integer NOT NULL, type text NOT NULL,
    data jsonb NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run_id, version))"""
APPEND = """INSERT INTO events (run_id, version, type, data)
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::jsonb[])"""
READ = "SELECT run_id, version, type, data::text FROM events ORDER BY run_id, version"
SIZE = "SELECT pg_database_size(current_database())"


class Inbox:
    """Deliveries pile up between two takes."""

    def __init__(self) -> None:
        self._waiting: deque[AbstractIncomingMessage] = deque()
        self._arrived = asyncio.Event()

    async def receive(self, message: AbstractIncomingMessage) -> None:
        self._waiting.append(message)
        self._arrived.set()

    async def take(self) -> list[AbstractIncomingMessage]:
        await self._arrived.wait()
        self._arrived.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


async def declared(channel: AbstractChannel) -> dict[str, AbstractQueue]:
    """The three queues."""
    names = (RUNS, RESULTS, STEPS)
    return {n: await channel.declare_queue(n, durable=True, arguments={"x-queue-type": "quorum"}) for n in names}


@asynccontextmanager
async def consuming(*names: str) -> AsyncIterator[tuple[Inbox, AbstractChannel]]:
    """What arrives in the queues, and a channel with confirms."""
    connection = await aio_pika.connect(AMQP_URL)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        inbox, consumer = Inbox(), await connection.channel(publisher_confirms=False)
        await consumer.set_qos(PREFETCH)
        queues = await declared(consumer)
        for name in names:
            await queues[name].consume(inbox.receive)
        yield inbox, channel


async def publish(channel: AbstractChannel, messages: list[tuple[str, bytes]]) -> None:
    """All of them, each confirmed."""
    send = channel.default_exchange.publish
    durable = aio_pika.DeliveryMode.PERSISTENT
    await asyncio.gather(*(send(aio_pika.Message(body, delivery_mode=durable), queue) for queue, body in messages))


@dataclass(slots=True)
class Run:
    """What the router knows of a run."""

    reply_to: str
    kind: str
    size: int
    version: int = 0
    values: list[int] = field(default_factory=list)
    window: list[str] = field(default_factory=list)


def follow(run: Run, kind: str, value: JSON) -> list[tuple[str, JSON, list[str]]]:
    """The steps that come after one: what kind, its request, what was said before; none = the run is over."""
    if kind == "step":
        run.size -= 1
        return [("step", value, [])] if run.size else []
    if kind == "say":
        run.size -= 1
        run.window = [*run.window, value][-agent.WINDOW :]
        return [("say", value, run.window)] if run.size else []
    if kind == "hub":
        return [("spoke", one, []) for one in value]
    if kind == "spoke":
        run.values.append(value)
        return [("join", run.values, [])] if len(run.values) == run.size else []
    return []


class Router:
    """Turns requests and results into events and what follows from them."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def handle(self, bodies: list[JSON]) -> tuple[list[tuple[UUID, int, str, bytes]], list[tuple[str, bytes]]]:
        """Rows to append and messages to publish."""
        rows: list[tuple[UUID, int, str, bytes]] = []
        messages: list[tuple[str, bytes]] = []
        for body in bodies:
            name = body["run"]
            if "reply_to" in body:
                run = self.runs[name] = Run(body["reply_to"], body["kind"], body["size"])
                done, next_steps = "RunRequested", [(run.kind, body["value"], [])]
            else:
                run, done = self.runs[name], "StepCompleted"
                next_steps = follow(run, body["kind"], body["value"])
            events = [(done, body["value"])]
            events += [("StepRequested", {"kind": kind, "value": value}) for kind, value, _ in next_steps]
            steps = [{"run": name, "kind": k, "value": v, "memory": m} for k, v, m in next_steps]
            messages += [(STEPS, orjson.dumps(step)) for step in steps]
            if not steps and (run.kind != "hub" or body["kind"] == "join"):
                events.append(("RunCompleted", body["value"]))
                messages.append((run.reply_to, orjson.dumps({"run": name, "value": body["value"]})))
                del self.runs[name]
            for kind, data in events:
                run.version += 1
                rows.append((UUID(name), run.version, kind, orjson.dumps(data)))
        return rows, messages


async def route() -> None:
    """The router's process."""
    pool = await asyncpg.create_pool(DATABASE_URL, min_size=1, max_size=2)
    router = Router()
    async with consuming(RUNS, RESULTS) as (inbox, channel):
        while True:
            taken = await inbox.take()
            rows, messages = router.handle([orjson.loads(m.body) for m in taken])
            run_ids, versions, kinds, data = zip(*rows, strict=True)
            await pool.execute(APPEND, run_ids, versions, kinds, [d.decode() for d in data])
            await publish(channel, messages)
            await taken[-1].ack(multiple=True)  # everything that came before it was taken too


def answer(step: JSON) -> JSON:
    """Run the agent."""
    match step["kind"]:
        case "step" | "spoke":
            return agent.step(step["value"])
        case "hub":
            return agent.hub(step["value"])
        case "join":
            return agent.join(step["value"])
        case _:
            return agent.say(step["value"], step["memory"])


async def work() -> None:
    """The worker's process."""
    async with consuming(STEPS) as (inbox, channel):
        while True:
            taken = await inbox.take()
            steps = [orjson.loads(m.body) for m in taken]
            results = [{"run": s["run"], "kind": s["kind"], "value": answer(s)} for s in steps]
            await publish(channel, [(RESULTS, orjson.dumps(result)) for result in results])
            await taken[-1].ack(multiple=True)  # everything that came before it was taken too


class Floor:
    """Implements `Subject`."""

    def __init__(self, channel: AbstractChannel, database: asyncpg.Connection) -> None:
        self._channel, self._database = channel, database
        self._waiting: dict[str, asyncio.Future[JSON]] = {}
        self._queue = f"floor.reply.{uuid4().hex}"

    async def listen(self) -> None:
        queue = await self._channel.declare_queue(self._queue, exclusive=True)
        await queue.consume(self._receive, no_ack=True)

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        body = orjson.loads(message.body)
        self._waiting.pop(body["run"]).set_result(body["value"])

    async def _run(self, kind: str, value: JSON, size: int) -> JSON:
        name = str(uuid4())
        waiter = self._waiting[name] = asyncio.get_running_loop().create_future()
        body = {"run": name, "kind": kind, "value": value, "size": size, "reply_to": self._queue}
        await publish(self._channel, [(RUNS, orjson.dumps(body))])
        return await waiter

    async def chain(self, first: int, steps: int) -> int:
        return int(await self._run("step", first, steps))

    async def fork(self, width: int) -> int:
        return int(await self._run("hub", width, width))

    async def talk(self, turns: int) -> str:
        return str(await self._run("say", agent.said(0), 2 * turns))

    async def stored(self) -> int:
        return int(await self._database.fetchval(SIZE))

    async def replay(self) -> dict[str, float]:
        """Read and decode the log: what any replay does at least."""
        began = time.monotonic()
        rows = await self._database.fetch(READ)
        for row in rows:
            orjson.loads(row["data"])
        return {"read_events_per_s": len(rows) / (time.monotonic() - began)}


@asynccontextmanager
async def opened() -> AsyncIterator[Floor]:
    """Both processes at work."""
    database = await asyncpg.connect(DATABASE_URL)
    await database.execute(TABLE)
    connection = await aio_pika.connect(AMQP_URL)
    channel = await connection.channel(publisher_confirms=True)
    await declared(channel)
    parts = [await asyncio.create_subprocess_exec(sys.executable, "-m", __spec__.name, p) for p in ("route", "work")]
    try:
        floor = Floor(channel, database)
        await floor.listen()
        yield floor
    finally:
        for part in parts:
            part.kill()
            await part.wait()
        await connection.close()
        await database.close()


if __name__ == "__main__":
    if sys.argv[1] in ("route", "work"):
        asyncio.run(route() if sys.argv[1] == "route" else work())
    else:
        drive(opened)
