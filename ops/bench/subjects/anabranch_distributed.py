"""anabranch as services: router, supervisor and worker processes (`BENCH_REPLICAS` of each), RabbitMQ, Postgres."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ops.bench.drive import AMQP_URL, DATABASE_URL, FOLDER, drive
from ops.bench.subjects import team
from ops.bench.subjects.runs import Runs
from tests.processes import house

from anabranch.client.session import Session
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport


class Distributed(Runs):
    """Runs served by processes of their own."""

    async def waiting(self, runs: int) -> dict[str, float]:
        """`ops.bench.waiting`, which has a database, a virtual host and processes of its own."""
        command = ["-m", "ops.bench.waiting", "--runs", str(runs), "--window", "10", "--json"]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"ops.bench.waiting: exit code {process.returncode}")
        found = json.loads(output)
        grown = sum(now["rss"] - found["empty"][name]["rss"] for name, now in found["waiting"].items())
        cpu = sum(now["cpu_per_mille"] for now in found["waiting"].values())
        return {"bytes_per_run": grown / runs, "cpu_per_mille": cpu}


@asynccontextmanager
async def opened() -> AsyncIterator[Distributed]:
    """All processes ready."""
    await upgrade(DATABASE_URL)
    os.environ["ANABRANCH_CONCURRENCY"] = "256"
    os.environ["ANABRANCH_LOG_LEVEL"] = "warning"
    replicas = int(os.environ.get("BENCH_REPLICAS", "1"))
    transport, store = RabbitTransport(AMQP_URL), PostgresStore(DATABASE_URL)
    with house(DATABASE_URL, AMQP_URL, FOLDER, team.__name__, replicas):
        await transport.connect()
        async with Session(transport) as session:
            yield Distributed(session, store)
        await transport.close()
    await store.close()


if __name__ == "__main__":
    drive(opened)
