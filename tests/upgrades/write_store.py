"""`python -m tests.upgrades.write_store`: the store that the last release leaves behind, for the releases after it.

The services of the wheel take every kind of run (kinds.py) as far as the agents let them, then they are killed. What
is in the database is written to `releases/`, with a list of the runs beside it. See releases/README.md.
"""

import asyncio
import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests import services
from tests.acceptance.client import client
from tests.acceptance.gate import gate
from tests.acceptance.stage import AskedRun, Stage
from tests.acceptance.tables import tables
from tests.processes import house
from tests.upgrades import releases
from tests.upgrades.kinds import FORKED, KINDS, Kind

JSON = Any
TEAM = Path(__file__).with_name("team.py")


async def _begun(stage: Stage, kind: Kind) -> AskedRun:
    """Ask, and tell it what comes first."""
    run = await stage.ask(kind.topology, config=kind.config)
    for key, body in kind.first:
        await _at(run, {"StepRequested": 1})
        answer = await run.tell(key, **body)
        assert answer["accepted"], answer
    return run


async def _at(run: AskedRun, reached: dict[str, int]) -> None:
    """Until the run has recorded so many events of each type."""
    for kind, count in reached.items():
        await run.recorded(kind, count, seconds=120)


async def _everything(database_url: str, amqp_url: str) -> dict[str, JSON]:
    """Ask for a run of each kind, and wait until each is where it is to be left."""
    async with client(amqp_url) as asking, tables(database_url) as reading, gate() as opened:
        stage = Stage(asking, reading, opened, None)  # type: ignore[arg-type] - its processes are not touched
        runs = {name: await _begun(stage, kind) for name, kind in KINDS.items()}
        for name, kind in KINDS.items():
            await _at(runs[name], kind.reached)
        fork = await runs[FORKED].tell("run.fork", at=(await runs[FORKED].row())["version"])
        assert fork["accepted"], fork
        forked = AskedRun(fork["run_id"], stage)
        await _at(forked, {"RunForked": 1})
        return {name: {"run_id": run.id} for name, run in runs.items()} | {f"fork of {FORKED}": {"run_id": forked.id}}


def _dump(database_url: str) -> bytes:
    """Plain SQL, without what only one server knows."""
    program = shutil.which("pg_dump") or str(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))[-1])
    options = ["--schema=anabranch", "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100"]
    made = subprocess.run([program, *options, database_url], check=True, capture_output=True, text=True).stdout
    return "".join(line for line in made.splitlines(True) if not line.startswith(("\\", "--"))).encode()


def main() -> None:
    """Write the store of the newest wheel."""
    with (
        services.postgres() as postgres,
        services.rabbitmq() as rabbitmq,
        services.fresh_database(postgres) as database_url,
        services.fresh_vhost(rabbitmq) as amqp_url,
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as environment,
    ):
        path = releases.unpacked(releases.LAST, Path(folder) / "release")
        releases.command(path, database_url, "migrate")
        for name, value in {"PYTHONPATH": path, "HOLD": "1", "ANABRANCH_CONCURRENCY": "100"}.items():
            environment.setenv(name, value)
        with house(database_url, amqp_url, Path(folder), TEAM):
            runs = asyncio.run(_everything(database_url, amqp_url))
        written = releases.FOLDER / ("-".join(releases.LAST.name.split("-")[:2]) + ".sql.gz")
        written.write_bytes(gzip.compress(_dump(database_url), mtime=0))
        listed = written.with_name(written.name.replace(".sql.gz", ".json"))
        listed.write_bytes(orjson.dumps(runs, option=orjson.OPT_INDENT_2) + b"\n")
        print(f"{written} has {written.stat().st_size} bytes, {len(runs)} runs")


if __name__ == "__main__":
    main()
