"""Celery on RabbitMQ with a database result backend: eight processes, late acks, confirmed and persistent messages.

A chain is `chain(...)`, a fork is a task that starts a `chord(...)`, a conversation is a task that sends the next one.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg2
from celery import Celery, chain, chord
from ops.bench.drive import AMQP_URL, DATABASE_URL, FOLDER, drive
from ops.bench.subjects import agent

JSON = Any
POLL = 0.01
DONE = "SELECT task_id FROM celery_taskmeta WHERE task_id = ANY(%s) AND status IN ('SUCCESS', 'FAILURE')"
TABLES = "SELECT to_regclass('celery_taskmeta') IS NOT NULL"
SIZE = "SELECT pg_database_size(current_database())"

app = Celery("bench", broker=AMQP_URL, backend=DATABASE_URL.replace("postgresql://", "db+postgresql://"))
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_delivery_mode="persistent",
    worker_prefetch_multiplier=64,  # short tasks, as its guide to optimising says
    result_chord_retry_interval=0.1,
    result_expires=None,
    worker_hijack_root_logger=False,
)


@app.task
def step(value: int) -> int:
    return agent.step(value)


@app.task
def join(values: list[int]) -> int:
    return agent.join(values)


@app.task
def hub(width: int, last: str) -> int:
    """Ask the spokes; the join's result has the id `last`."""
    chord((step.s(one) for one in agent.hub(width)), join.s().set(task_id=last))()
    return width


@app.task
def say(message: str, memory: list[str], left: int, last: str) -> str:
    """Say it, and send the next one, unless it was the last."""
    answer = agent.say(message, memory)
    if left > 1:
        memory = [*memory, message][-agent.WINDOW + 1 :]
        say.apply_async((answer, memory, left - 1, last), task_id=last if left == 2 else None)
    return answer


class Tasks:
    """Implements `Subject`. One query asks for everything that is waited for: `AsyncResult.get` would poll for each."""

    def __init__(self) -> None:
        self._sending = ThreadPoolExecutor(2)
        self._asking = ThreadPoolExecutor(1)
        self._connection = psycopg2.connect(DATABASE_URL)
        self._connection.autocommit = True
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._poller = asyncio.create_task(self._poll())

    def _query(self, statement: str, *parameters: JSON) -> list[tuple[JSON, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL)
            if self._waiting:
                asked = list(self._waiting)
                for (name,) in await loop.run_in_executor(self._asking, self._query, DONE, asked):
                    self._waiting.pop(name).set_result(None)

    async def _result(self, name: str, send: Any) -> JSON:
        """Send, wait, read; raises what the task raised."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._sending, send)
        self._waiting[name] = loop.create_future()
        await self._waiting[name]
        return await loop.run_in_executor(self._sending, app.AsyncResult(name).get)

    async def chain(self, first: int, steps: int) -> int:
        last = str(uuid4())
        tasks = [step.s(first), *(step.s() for _ in range(steps - 1))]
        tasks[-1] = tasks[-1].set(task_id=last)
        return int(await self._result(last, chain(*tasks).apply_async if steps > 1 else tasks[0].apply_async))

    async def fork(self, width: int) -> int:
        last = str(uuid4())
        return int(await self._result(last, hub.s(width, last).apply_async))

    async def talk(self, turns: int) -> str:
        last = str(uuid4())
        return str(await self._result(last, say.s(agent.said(0), [], 2 * turns, last).apply_async))

    async def stored(self) -> int:
        return int(self._query(SIZE)[0][0])


@asynccontextmanager
async def opened() -> AsyncIterator[Tasks]:
    """Workers that have done a task; their tables are made by the first result."""
    app.backend.ResultSession().close()  # makes the tables: two processes at once would be in each other's way
    log = (FOLDER / "celery.log").open("wb")
    options = ("worker", "--concurrency", "8", "--without-gossip", "--without-mingle", "--loglevel", "WARNING")
    command = (sys.executable, "-m", "celery", "-A", "ops.bench.subjects.celery", *options)
    worker = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield Tasks()
    finally:
        worker.terminate()
        await worker.wait()
        log.close()


if __name__ == "__main__":
    from ops.bench.subjects import celery  # the tasks have the name of the module that workers import

    drive(celery.opened)
