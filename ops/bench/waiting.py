"""The idle bar measured: runs that wait for a person hold no worker, no connection, no memory, and cost no CPU.

`make bench-waiting` starts real services, lets N runs ask a person, watches the processes for a quiet while (as it
did before, with no run there), stops all services to count what is left in the queues, starts them again, and
answers every run in random order.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import orjson
from tests import services
from tests.acceptance.client import Client, client
from tests.processes import House, house

from anabranch.runtime.postgres.migrate import upgrade
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue

JSON = Any
TEAM = Path(__file__).with_name("asking.py")
TOPOLOGY = {"nodes": ["Clerk"], "edges": []}
QUEUES = (ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue("Clerk"), PARKED_QUEUE)
WAVE = 500
TICKS = os.sysconf("SC_CLK_TCK")
AUDIT = """SELECT count(*) FILTER (WHERE answers = 1 AND steps = 2 AND ends = 1) AS exact, count(*) AS runs FROM (
SELECT count(*) FILTER (WHERE type = 'UserInputProvided') AS answers,
    count(*) FILTER (WHERE type = 'StepCompleted') AS steps,
    count(*) FILTER (WHERE type = 'RunCompleted') AS ends
FROM anabranch.events GROUP BY run_id) AS counted"""
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at a moment: CPU seconds so far, resident bytes, open sockets."""

    cpu: float
    rss: int
    sockets: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """A process over a quiet window: CPU in thousandths of one core, then as it was at the end."""

    cpu_per_mille: float
    rss: int
    sockets: int


def sample(pid: int) -> Sample:
    """Read /proc; a process that is gone counts nothing."""
    place = Path(f"/proc/{pid}")
    try:
        after_name = (place / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        sockets = sum(os.readlink(link).startswith("socket:") for link in (place / "fd").iterdir())
    except OSError:
        return Sample(0, 0, 0)
    return Sample((int(after_name[11]) + int(after_name[12])) / TICKS, int(status["VmRSS"].split()[0]) * 1024, sockets)


def pids(made: House) -> dict[str, int]:
    """The processes by name."""
    return {p.module.rpartition(".")[2]: p.process.pid for p in made.all if p.process is not None}


async def backends(database_url: str) -> dict[str, int]:
    """Connections to the database other than ours, by number."""
    found = await rows(database_url, BACKENDS)
    return {f"postgres {i}": row["pid"] for i, row in enumerate(found)}


async def rows(database_url: str, statement: str) -> list[asyncpg.Record]:
    """Ask the database."""
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def watch(made: House, database_url: str, seconds: float) -> dict[str, Quiet]:
    """What each process does while nobody asks for anything; the connections to Postgres count as one process."""
    watched = pids(made) | await backends(database_url)
    before = {name: sample(pid) for name, pid in watched.items()}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    span = time.monotonic() - began
    after = {name: sample(pid) for name, pid in watched.items()}
    spent = {name: 1000 * (after[name].cpu - before[name].cpu) / span for name in watched}
    served = [name for name in watched if name.startswith("postgres")]
    found = {n: Quiet(spent[n], after[n].rss, after[n].sockets) for n in watched if n not in served}
    return found | {"postgres": Quiet(sum(spent[n] for n in served), 0, len(served))}


async def ask(asking: Client, count: int) -> dict[str, str]:
    """Start so many runs and wait until each has asked; request ids by run id.

    In waves, so that what is measured is runs that wait, and not the peak of runs that were at work at once.
    """
    asking.questions.clear()
    for begun in range(0, count, WAVE):
        wave = min(WAVE, count - begun)
        await asking.request([uuid4() for _ in range(wave)], TOPOLOGY)
        await asking.until(lambda wanted=begun + wave: len(asking.questions) >= wanted, 60)
    return {q["run_id"]: q["request_id"] for q in asking.questions}


async def answer(asking: Client, open_requests: Mapping[str, str], random: Random) -> int:
    """Answer all in random order; how many runs ended with the answer that was theirs."""
    asking.outcomes.clear()
    order = list(open_requests)
    random.shuffle(order)
    bodies = [{"run_id": r, "request_id": open_requests[r], "value": f"answer to {r}"} for r in order]
    await asking.publish("user.provided", [orjson.dumps(body) for body in bodies])
    await asking.collect(len(order), 60 + len(order) / 20)
    return sum(o.get("result") == {"run": r, "said": f"answer to {r}"} for r, o in asking.outcomes.items())


async def depths(amqp_url: str) -> dict[str, int]:
    """Messages that wait in each queue."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        found = [await channel.declare_queue(name, passive=True) for name in QUEUES]
        return {queue.name: int(queue.declaration_result.message_count or 0) for queue in found}


async def drained(amqp_url: str) -> None:
    """Wait until the services have read everything that was said to them."""
    async with asyncio.timeout(60):
        while any((await depths(amqp_url)).values()):  # noqa: ASYNC110 - a queue's depth gives no signal
            await asyncio.sleep(0.1)


def restart(made: House) -> Iterator[None]:
    """All services down, then up again."""
    for process in made.all:
        process.terminate()
    yield
    for process in made.all:
        process.start()
    for process in made.all:
        process.await_ready()


async def measure(runs: int, window: float, database_url: str, amqp_url: str, made: House) -> JSON:
    """The whole experiment on services that are up."""
    random = Random(runs)
    async with client(amqp_url) as asking:
        await asking.listen()
        right = await answer(asking, await ask(asking, min(2 * WAVE, runs)), random)
        await drained(amqp_url)
        empty = await watch(made, database_url, window)
        began = time.monotonic()
        waiting = await ask(asking, runs)
        asked_in = time.monotonic() - began
        await drained(amqp_url)
        idle = await watch(made, database_url, window)
        with contextmanager(restart)(made):
            queued = await depths(amqp_url)
        began = time.monotonic()
        right += await answer(asking, waiting, random)
        answered_in = time.monotonic() - began
    (audit,) = await rows(database_url, AUDIT)
    times = {"runs": runs, "window": window, "asked_in": asked_in, "answered_in": answered_in}
    counts = {"queued": queued, "own_answer": right, "exactly_once": audit["exact"], "all": audit["runs"]}
    return {**times, **counts, "empty": _plain(empty), "waiting": _plain(idle)}


def _plain(found: Mapping[str, Quiet]) -> JSON:
    return {name: asdict(quiet) for name, quiet in found.items()}


def table(found: JSON) -> str:
    """The figures for people."""
    runs, window = found["runs"], found["window"]
    lines = [
        f"{runs} runs wait for a person ({window:g} s watched; before = the same services with no run)",
        f"{'':18}{'CPU, 1/1000 core':>20}{'MiB resident':>20}{'bytes a run':>13}{'connections':>15}",
    ]
    for name, now in found["waiting"].items():
        was = found["empty"][name]
        cpu = f"{was['cpu_per_mille']:.1f} -> {now['cpu_per_mille']:.1f}"
        memory = f"{was['rss'] / 2**20:.1f} -> {now['rss'] / 2**20:.1f}" if now["rss"] else "-"
        growth = f"{(now['rss'] - was['rss']) / runs:.0f}" if now["rss"] else "-"
        sockets = f"{was['sockets']} -> {now['sockets']}"
        lines.append(f"{name:18}{cpu:>20}{memory:>20}{growth:>13}{sockets:>15}")
    lines += [
        f"asked in {found['asked_in']:.1f} s; left in queues with all services down: {sum(found['queued'].values())}",
        f"answered in random order in {found['answered_in']:.1f} s; own answer {found['own_answer']}, "
        f"exactly once {found['exactly_once']}, of {found['all']}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Parse, find the services, measure, print; 1 when a run did not get its own answer exactly once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--window", type=float, default=30.0, help="quiet seconds to watch")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with (
        services.postgres() as server,
        services.fresh_database(server) as database_url,
        services.rabbitmq() as broker,
        services.fresh_vhost(broker) as amqp_url,
        tempfile.TemporaryDirectory() as folder,
    ):
        asyncio.run(upgrade(database_url))
        with house(database_url, amqp_url, Path(folder), TEAM) as made:
            found = asyncio.run(measure(args.runs, args.window, database_url, amqp_url, made))
    print(json.dumps(found, indent=2) if args.json else table(found))
    return 0 if found["own_answer"] == found["exactly_once"] == found["all"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
