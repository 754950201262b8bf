"""Everything is killed and started again between any two steps of every example: nobody can tell by the outcome."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from anabranch.client import mailbox, queries
from anabranch.runtime.ports import Unavailable
from anabranch.runtime.postgres.embedded import EmbeddedPostgres, running_url
from anabranch.runtime.postgres.engine import create_engine
from anabranch.runtime.postgres.schema import current, newest
from tests.acceptance.examples import AGENTS, EXAMPLES
from tests.acceptance.lives import Lives
from tests.acceptance.programs import Program, output
from tests.acceptance.telling import without_times
from tests.audit import audit
from tests.processes import house
from tests.services import data_folder

JSON = Any
PACED = "tests.acceptance.paced"
SLOTS = {"ANABRANCH_CONCURRENCY": "500"}  # held answers are many
OWN = ("agent_pool", "checkpoints", "status")  # these need their program to go on; `status` tells of `metrics`' runs
AT_ONCE = [name for name in EXAMPLES if name not in OWN]
LONGEST = 7  # answers that one run has
pytestmark = pytest.mark.timeout(280)


Start = Callable[..., Awaitable[Program]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start paced programs; none outlives its test."""
    programs: list[Program] = []

    async def one(settings: dict[str, str], *arguments: str) -> Program:
        programs.append(await Program.started(SLOTS | settings, "-m", PACED, *arguments))
        return programs[-1]

    yield one
    for program in programs:
        await program.killed()


def judge(found: JSON) -> None:
    """All is as it is promised of an undisturbed play."""
    facts = {name: without_times(one["facts"]) for name, one in found.items()}
    assert facts == {name: one["promised"] for name, one in found.items()}


async def test_router_supervisor_and_worker_die_between_any_two_steps(
    house_urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    database_url, amqp_url = house_urls
    monkeypatch.setenv(*next(iter(SLOTS.items())))
    lives = Lives()
    with house(database_url, amqp_url, tmp_path, f"{AGENTS},{PACED}") as all_of_it:
        addresses = {"ANABRANCH_AMQP_URL": amqp_url, "ANABRANCH_DATABASE_URL": database_url}
        program = await start(addresses, *EXAMPLES)
        while await lives.another(database_url, program.ending):
            await asyncio.to_thread(all_of_it.restart)
            program.signalled(signal.SIGUSR1)
        judge(await program.output())
    assert lives.count >= LONGEST
    await audit(database_url)


async def up(folder: Path) -> str:
    """The URL of the engine's database, once it has its tables."""
    async with asyncio.timeout(60):
        while True:
            with suppress(Unavailable):
                if (url := running_url(folder)) is not None and await current(url) == newest():
                    return url
            await asyncio.sleep(0.05)  # a process gives no signal


async def answer_everything(url: str) -> None:
    """Answer every question that is open as its example does."""
    engine = create_engine(url)
    tasks = {row["run_id"]: row["task"] for row in await queries.rows(engine, queries.RUNS, None, 1000)}
    for asked in await queries.rows(engine, queries.INBOX, 100):
        value = tasks[asked["run_id"]] if asked["kind"] == "error" else "yes"
        body = {"run_id": str(asked["run_id"]), "request_id": str(asked["request_id"]), "value": value}
        assert await mailbox.leave(engine, "user.provided", body, patience=30)
    await engine.dispose()


@pytest.fixture
def folder() -> Iterator[Path]:
    with data_folder() as made:
        yield made


async def test_the_embedded_engine_dies_between_any_two_steps(folder: Path, start: Start) -> None:
    settings = {"ANABRANCH_DATA_DIR": str(folder)}
    lives = Lives(expected=await (await start(settings, "--count", *AT_ONCE)).output())
    program = await start(settings, *AT_ONCE)
    while await lives.another(await up(folder), program.ending):
        await program.killed()
        program = await start(settings, "--again", *AT_ONCE)
        await answer_everything(await up(folder))
    judge(await program.output())
    assert lives.count >= LONGEST
    async with EmbeddedPostgres(folder) as url:
        await audit(url)


SAVE = """
import asyncio, os, signal
from tests.acceptance.examples import checkpoints

async def main():
    handle, checkpoint_id = await checkpoints.save()
    print(handle.run_id, checkpoint_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
RESTORE = """
import asyncio, json, sys
from anabranch import Orchestra
from tests.acceptance.examples import checkpoints
from tests.acceptance.telling import told

async def main(run_id, checkpoint_id):
    restored = await checkpoints.restore(checkpoint_id)
    facts = {**restored, "save": told(await Orchestra.resume(run_id))}
    print(json.dumps({"checkpoints": {"facts": facts, "promised": checkpoints.PROMISED}}))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_checkpoint_outlives_the_embedded_engine(folder: Path) -> None:
    settings = {"ANABRANCH_DATA_DIR": str(folder)}
    saving = await Program.started(settings, "-c", SAVE)
    said, errors = await saving.ending
    assert saving.process.returncode == -signal.SIGKILL, errors.decode()
    judge(await asyncio.to_thread(output, settings, "-c", RESTORE, *said.decode().split()))


POOL = """
import asyncio, json, sys
from tests.acceptance import paced
from tests.acceptance.examples import agent_pool

facts = asyncio.run(agent_pool.execute(run_id=sys.argv[1]))
print(json.dumps({"agent_pool": {"facts": facts, "promised": agent_pool.PROMISED}}))
"""


async def test_a_pool_dies_with_its_engine_between_any_two_steps(folder: Path) -> None:
    """Its program asks for the same run again, as one that may be killed does."""
    settings, run_id = SLOTS | {"ANABRANCH_DATA_DIR": str(folder)}, str(uuid4())
    lives = Lives()
    program = await Program.started(settings, "-c", POOL, run_id)
    try:
        while await lives.another(await up(folder), program.ending):
            await program.killed()
            program = await Program.started(settings, "-c", POOL, run_id)
        judge(await program.output())
    finally:
        await program.killed()
    assert lives.count >= LONGEST
    async with EmbeddedPostgres(folder) as url:
        await audit(url)
