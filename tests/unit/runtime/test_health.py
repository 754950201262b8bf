"""The three paths that probes and Prometheus ask."""

import asyncio
from contextlib import suppress

import pytest

from anabranch.runtime import telemetry
from anabranch.runtime.health import HealthServer


async def ask(port: int, line: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


@pytest.mark.parametrize(
    ("ready", "path", "status"),
    [
        (True, b"/healthz", b"200 OK"),
        (False, b"/healthz", b"200 OK"),
        (True, b"/readyz?x=1", b"200 OK"),
        (False, b"/readyz", b"503 Service Unavailable"),
        (True, b"/else", b"404 Not Found"),
    ],
)
async def test_paths(ready: bool, path: bytes, status: bytes) -> None:
    async with HealthServer(lambda: ready, "127.0.0.1") as server:
        found, _ = await ask(server.port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert found == b"HTTP/1.1 " + status


async def test_metrics_are_those_of_this_process() -> None:
    telemetry.STEPS_RUN.labels("A", "completed").inc()
    async with HealthServer(lambda: True, "127.0.0.1") as server:
        _, body = await ask(server.port, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert b'anabranch_steps_run_total{agent="A",outcome="completed"}' in body


@pytest.mark.parametrize("nonsense", [b"\r\n", b"\xff\xfe\r\n", b"x" * 20_000 + b"\r\n"])
async def test_nonsense_does_not_end_it(nonsense: bytes) -> None:
    async with HealthServer(lambda: True, "127.0.0.1") as server:
        with suppress(ConnectionResetError):  # one way to refuse it
            await ask(server.port, nonsense)
        assert (await ask(server.port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == b"HTTP/1.1 200 OK"
