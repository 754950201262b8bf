"""Real worker processes on RabbitMQ: what signals do to them, and to the steps they have in hand."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anabranch.runtime.rabbitmq.transport import RabbitTransport
from tests.integration.worker.wire import Asker, a_step
from tests.link import linked

TEAM = Path(__file__).with_name("team.py")
WORKER = ("-m", "anabranch.agent_worker")


@dataclass
class Gates:
    """Steps that have begun: the process that runs each, and the way to let it end."""

    begun: "asyncio.Queue[tuple[int, asyncio.StreamWriter]]" = field(default_factory=asyncio.Queue)

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun.put_nowait((int(await reader.readline()), writer))


async def saying(process: Process, word: str) -> str:
    """The next line of its log that has the word."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            if word in line:
                return line
    raise AssertionError(f"the process ended without saying {word!r}")


async def ended(process: Process) -> int:
    async with asyncio.timeout(30):
        return await process.wait()


@pytest.fixture
async def gates(tmp_path: Path) -> AsyncIterator[Gates]:
    found = Gates()
    server = await asyncio.start_unix_server(found.enter, tmp_path / "gate")
    yield found
    server.close()


@pytest.fixture
async def asker(amqp_url: str) -> AsyncIterator[Asker]:
    transport = RabbitTransport(amqp_url, "classic")
    await transport.connect()
    yield await Asker.over(transport)
    await transport.close()


@asynccontextmanager
async def a_worker(amqp_url: str, tmp_path: Path, **more: str) -> AsyncIterator[Process]:
    given = {
        "ANABRANCH_AMQP_URL": amqp_url,
        "ANABRANCH_AGENTS": str(TEAM),
        "ANABRANCH_QUEUE_TYPE": "classic",
        "ANABRANCH_CONCURRENCY": "2",
        "GATE_SOCKET": str(tmp_path / "gate"),
    }
    environment = {**os.environ, **given, **more}
    process = await asyncio.create_subprocess_exec(sys.executable, *WORKER, stderr=PIPE, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_drains(amqp_url: str, tmp_path: Path, asker: Asker, gates: Gates) -> None:
    async with a_worker(amqp_url, tmp_path) as worker:
        await saying(worker, "ready")
        await asker.ask(a_step("Gate", "in hand"))
        pid, gate = await gates.begun.get()
        assert pid == worker.pid
        worker.send_signal(signal.SIGTERM)
        await saying(worker, "draining")
        await asker.ask(a_step("Echo", "too late"))
        gate.write(b"go\n")
        assert (await asker.result())[1]["response"] == "in hand"
        assert await ended(worker) == 0
    async with a_worker(amqp_url, tmp_path):
        delivery, body = await asker.result()
        assert body["response"] == "too late"
        assert not delivery.redelivered
    assert gates.begun.empty()


async def test_sigkill_hands_the_step_to_another(amqp_url: str, tmp_path: Path, asker: Asker, gates: Gates) -> None:
    async with a_worker(amqp_url, tmp_path) as one, a_worker(amqp_url, tmp_path) as other:
        await saying(one, "ready")
        await saying(other, "ready")
        await asker.ask(a_step("Gate", "survives"))
        first, _ = await gates.begun.get()
        next(worker for worker in (one, other) if worker.pid == first).kill()
        second, gate = await gates.begun.get()
        assert {first, second} == {one.pid, other.pid}
        gate.write(b"go\n")
        _, body = await asker.result()
        assert body["response"] == "survives"
        assert body["worker"].endswith(f"-{second}")


async def test_a_cut_connection_does_not_lose_or_repeat_the_step_in_hand(
    amqp_url: str, tmp_path: Path, asker: Asker, gates: Gates
) -> None:
    async with linked(amqp_url) as link, a_worker(link.url, tmp_path) as worker:
        await saying(worker, "ready")
        await asker.ask(a_step("Gate", "kept"))
        _, gate = await gates.begun.get()
        link.cut(reset=True)
        await saying(worker, "unavailable")
        await saying(worker, "ready")
        gate.write(b"go\n")
        assert (await asker.result())[1]["response"] == "kept"
        worker.send_signal(signal.SIGTERM)
        assert await ended(worker) == 0
    assert gates.begun.empty()


async def test_an_agent_that_never_returns_does_not_keep_the_process(
    amqp_url: str, tmp_path: Path, asker: Asker, gates: Gates
) -> None:
    async with a_worker(amqp_url, tmp_path) as worker:
        await asker.ask(a_step("Stuck", timeout=0.05))
        await gates.begun.get()
        assert (await asker.result())[1]["error"]["type"] == "StepTimeout"
        worker.send_signal(signal.SIGINT)
        assert await ended(worker) == 0


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"ANABRANCH_CONCURRENCY": "many"}, "ANABRANCH_CONCURRENCY is 'many'; allowed: a whole number"),
        ({"ANABRANCH_AMQP_URL": ""}, "ANABRANCH_AMQP_URL is not set"),
        ({"ANABRANCH_AGENTS": "no_such_module"}, "'no_such_module' cannot be loaded"),
        ({"ANABRANCH_AGENTS": "json"}, "json registers no agent"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_2(tmp_path: Path, environment: dict[str, str], line: str) -> None:
    async with a_worker("amqp://nobody@127.0.0.1:1", tmp_path, **environment) as worker:
        _, said = await worker.communicate()
        assert worker.returncode == 2
    assert line in said.decode()
    assert said.decode().count("\n") == 1


@pytest.mark.parametrize("module", ["agent_worker.service", "runtime.settings", "agents.registry"])
async def test_a_worker_needs_no_database(module: str) -> None:
    code = f"import sys, anabranch.{module}; print({{'sqlalchemy', 'asyncpg', 'alembic'}} & set(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE)
    out, _ = await process.communicate()
    assert out.decode().strip() == "set()"
