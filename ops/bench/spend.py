"""Where a step's time goes: W1 once, and what each process spent on it, in microseconds a step.

`make bench-spend` asks the kernel for processor time, each service's metrics for the time its handler took (waiting
included), and py-spy, where `.venv-bench` has it, in whose code the processor was.
"""

import argparse
import asyncio
import os
import re
import subprocess
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.bench.contest import PEERS
from ops.bench.subjects import team
from ops.bench.subjects.runs import Runs
from ops.bench.waiting import backends, pids, sample
from ops.bench.workloads import CHAIN, chains
from tests import services
from tests.processes import House, Process, house

from anabranch.client.session import Session
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport

JSON = Any
SPY = PEERS.with_name("py-spy")
PHASES = ("decide", "append", "publish")
METRIC = re.compile(r"^anabranch_(\w+)_(sum|count|total)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
OWNERS = (  # the innermost frame that is one of these owns a sample
    ("rules", ("anabranch/domain/",)),
    ("AMQP", ("pika/", "runtime/rabbitmq/")),
    ("SQL", ("asyncpg/", "sqlalchemy/", "runtime/postgres/")),
    ("checks", ("pydantic/", "anabranch_contracts/", "runtime/reading")),
    ("telemetry", ("prometheus_client/", "structlog/", "runtime/telemetry")),
    ("pipeline", ("services/anabranch/",)),
)


LOOP = ("_run (", "_run_once (", "select (")  # of asyncio: further out are only those who started it


def scraped(process: Process) -> dict[str, float]:
    """Sums and counts of a service's metrics, over all labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=5) as answer:
        found: Counter[str] = Counter()
        for name, part, value in METRIC.findall(answer.read().decode()):
            found[f"{name}_{part}"] += float(value)
    return dict(found)


def owner(stack: str) -> str:
    """Whose code a sample was in; the loop's where nobody else is on the stack."""
    for frame in reversed(stack.split(";")):
        if frame.startswith(LOOP):
            return "loop"
        for name, parts in OWNERS:
            if any(part in frame for part in parts):
                return name
    return "loop"


@contextmanager
def spied(made: House, folder: Path) -> Iterator[dict[str, Path]]:
    """Samples of each service while the context is; nothing without py-spy."""
    kept = {name: folder / f"{name}.folded" for name in pids(made)} if SPY.exists() else {}
    options = ("record", "--format", "raw", "--rate", "200", "--full-filenames", "--duration", "3600")
    spies = [
        subprocess.Popen(
            [SPY, *options, "--pid", str(pids(made)[name]), "--output", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        for name, path in kept.items()
    ]
    try:
        yield kept
    finally:
        for spy in spies:
            spy.send_signal(2)  # it writes what it has
            spy.wait(30)


def shares(path: Path) -> dict[str, float]:
    """Parts of all samples, by owner."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        found[owner(stack)] += int(count)
    total = found.total() or 1
    return {name: count / total for name, count in found.most_common()}


async def once(runs: int, database_url: str, amqp_url: str) -> float:
    """Steps a second of W1."""
    transport, store = RabbitTransport(amqp_url), PostgresStore(database_url)
    await transport.connect()
    async with Session(transport) as session:
        rate = await chains(Runs(session, store), runs)
    await transport.close()
    await store.close()
    return rate


def spent(made: House, runs: int, database_url: str, amqp_url: str) -> Iterator[str]:
    """The tables, line by line; the warm-up is not counted."""
    asyncio.run(once(20, database_url, amqp_url))
    watched = pids(made) | asyncio.run(backends(database_url))
    before = {name: sample(pid).cpu for name, pid in watched.items()}
    metrics = {p.module: scraped(p) for p in made.all}
    rate = asyncio.run(once(runs, database_url, amqp_url))
    steps = runs * CHAIN
    yield f"{steps} steps, {rate:.0f} a second = {1e6 / rate:.0f} us of wall time each\n"
    cpu = {name: 1e6 * (sample(pid).cpu - before[name]) / steps for name, pid in watched.items()}
    grown = {p.module.rpartition(".")[2]: _grown(metrics[p.module], scraped(p), steps) for p in made.all}
    yield from _lines(cpu, grown)


def _grown(before: Mapping[str, float], after: Mapping[str, float], steps: int) -> dict[str, float]:
    return {name: (value - before.get(name, 0)) / steps for name, value in after.items()}


def _lines(cpu: Mapping[str, float], grown: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield f"{'us a step':20}" + "".join(f"{c:>10}" for c in ("processor", *PHASES, "messages", "a batch"))
    for name, metrics in grown.items():
        phases = [1e6 * metrics.get(f"{phase}_seconds_sum", 0) for phase in PHASES]
        batches = metrics.get("batch_size_count", 0)
        size = metrics.get("batch_size_sum", 0) / batches if batches else 0
        messages = metrics.get("batch_size_sum", 0)
        yield f"{name:20}{cpu[name]:10.0f}" + "".join(f"{p:10.0f}" for p in phases) + f"{messages:10.2f}{size:10.1f}"
    yield f"{'postgres, for these':20}{sum(c for n, c in cpu.items() if n.startswith('postgres')):10.0f}\n"


def main() -> None:
    """Find the services, measure twice: without py-spy for the times, with it for the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args()
    os.environ["ANABRANCH_CONCURRENCY"], os.environ["ANABRANCH_LOG_LEVEL"] = "256", "warning"
    with (
        services.postgres() as server,
        services.fresh_database(server) as database_url,
        services.rabbitmq() as broker,
        services.fresh_vhost(broker) as amqp_url,
        tempfile.TemporaryDirectory() as name,
    ):
        os.environ["BENCH_MARKS"] = f"{name}/marks"
        Path(name, "marks").touch()
        asyncio.run(upgrade(database_url))
        with house(database_url, amqp_url, Path(name), team.__name__) as made:
            for line in spent(made, args.runs, database_url, amqp_url):
                print(line)
            with spied(made, Path(name)) as kept:
                asyncio.run(once(args.runs, database_url, amqp_url))
            for service, path in kept.items():
                print(f"{service:20}" + ", ".join(f"{part} {share:.0%}" for part, share in shares(path).items()))


if __name__ == "__main__":
    main()
