"""Restate: its server, and services in Python; `BENCH_VARIANT=call` has agents as a service of their own.

Without it a step is a `ctx.run` inside the workflow's handler, in two processes. With it a step is a call of the
service `agents`, which is served by the second process.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket
from typing import Any

import aiohttp
import restate
from ops.bench.drive import FOLDER, drive
from ops.bench.subjects import agent

JSON = Any
SERVER = "node_modules/@restatedev/restate-server-*/bin/restate-server"  # one package a platform
CALL = os.environ.get("BENCH_VARIANT") == "call"
AT_ONCE = 100  # what a gather costs for each of them grows with their number: 10,000 at once were not over in 100 s
agents, runs = restate.Service("agents"), restate.Service("runs")


@agents.handler()
async def step(ctx: restate.Context, value: int) -> int:
    return agent.step(value)


@agents.handler()
async def hub(ctx: restate.Context, width: int) -> list[int]:
    return agent.hub(width)


@agents.handler()
async def join(ctx: restate.Context, values: list[int]) -> int:
    return agent.join(values)


@agents.handler()
async def say(ctx: restate.Context, asked: list[JSON]) -> str:
    return agent.say(*asked)


def does(ctx: restate.Context, handler: Any, here: Callable[..., JSON], *given: JSON) -> Awaitable[JSON]:
    """A durable step, in one of the two ways."""
    if CALL:
        return ctx.service_call(handler, arg=given[0] if len(given) == 1 else list(given))
    return ctx.run_typed(here.__name__, lambda: here(*given))


@runs.handler()
async def chain(ctx: restate.Context, asked: list[int]) -> int:
    value, steps = asked
    for _ in range(steps):
        value = await does(ctx, step, agent.step, value)
    return value


@runs.handler()
async def fork(ctx: restate.Context, width: int) -> int:
    spokes = [does(ctx, step, agent.step, one) for one in await does(ctx, hub, agent.hub, width)]
    for start in range(0, 0 if CALL else width, AT_ONCE):  # runs are begun by whoever waits for them
        await restate.gather(*spokes[start : start + AT_ONCE])
    return await does(ctx, join, agent.join, [await one for one in spokes])


@runs.handler()
async def talk(ctx: restate.Context, turns: int) -> str:
    message, memory = agent.said(0), []
    for _ in range(2 * turns):
        memory = [*memory, message][-agent.WINDOW :]
        message = await does(ctx, say, agent.say, message, memory[:-1])
    return message


everything, runs_app, agents_app = restate.app([runs, agents]), restate.app([runs]), restate.app([agents])


class Ingress:
    """Implements `Subject`: each run is a request over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, url: str, data: Path) -> None:
        self._http, self._url, self._data = http, url, data

    async def _ask(self, handler: str, value: JSON) -> JSON:
        async with self._http.post(f"{self._url}/runs/{handler}", json=value) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {await answer.text()}")
            return await answer.json()

    async def chain(self, first: int, steps: int) -> int:
        return int(await self._ask("chain", [first, steps]))

    async def fork(self, width: int) -> int:
        return int(await self._ask("fork", width))

    async def talk(self, turns: int) -> str:
        return str(await self._ask("talk", turns))

    async def stored(self) -> int:
        return sum(p.stat().st_size for p in self._data.rglob("*") if p.is_file())


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def _serve(app: str, port: int, workers: int, log: Any) -> asyncio.subprocess.Process:
    """Hypercorn with the settings that Restate's documentation has for production."""
    place = FOLDER / f"{app}.toml"
    place.write_text(
        f'bind = "127.0.0.1:{port}"\nworkers = {workers}\nh2_max_concurrent_streams = 2147483647\n'
        "keep_alive_max_requests = 2147483647\nkeep_alive_timeout = 2147483647\n"
    )
    command = (sys.executable, "-m", "hypercorn", "--config", place, f"ops.bench.subjects.restate:{app}")
    return await asyncio.create_subprocess_exec(*map(str, command), stdout=log, stderr=log)


def binary() -> Path:
    """The server, out of its npm package."""
    found = sorted(Path(sys.prefix).glob(SERVER))
    if not found:
        raise RuntimeError(f"no {SERVER} in {sys.prefix}")
    return found[0]


async def _server(ports: list[int], data: Path, log: Any) -> asyncio.subprocess.Process:
    """A single node that syncs to disk, as it does by default."""
    node, ingress, admin = (f"127.0.0.1:{port}" for port in ports)
    environment = {
        **os.environ,
        "RESTATE_BIND_ADDRESS": node,
        "RESTATE_ADVERTISED_ADDRESS": f"http://{node}/",
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
    }
    command = (binary(), "--base-dir", data, "--node-name", "bench", "--no-logo")
    return await asyncio.create_subprocess_exec(*map(str, command), env=environment, stdout=log, stderr=log)


async def _until(http: aiohttp.ClientSession, method: str, url: str, body: JSON = None) -> None:
    """Ask until it is granted: servers take a moment to start."""
    for _ in range(300):
        try:
            async with http.request(method, url, json=body) as answer:
                if answer.status < 300:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{method} {url} was not granted in 30 s")


@asynccontextmanager
async def opened() -> AsyncIterator[Ingress]:
    """Server and services ready, deployments registered."""
    node, ingress, admin, first, second = free_ports(5)
    data, log = FOLDER / "restate-data", (FOLDER / "restate.log").open("wb")
    served = [("runs_app", first, 1), ("agents_app", second, 1)] if CALL else [("everything", first, 2)]
    parts = [await _server([node, ingress, admin], data, log)]
    parts += [await _serve(app, port, workers, log) for app, port, workers in served]
    timeout = aiohttp.ClientTimeout(total=None)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
            await _until(http, "GET", f"http://127.0.0.1:{admin}/health")
            for _, port, _ in served:
                uri = {"uri": f"http://127.0.0.1:{port}"}
                await _until(http, "POST", f"http://127.0.0.1:{admin}/deployments", uri)
            await _until(http, "GET", f"http://127.0.0.1:{ingress}/restate/health")
            yield Ingress(http, f"http://127.0.0.1:{ingress}", data)
    finally:
        for part in reversed(parts):
            if part.returncode is None:  # one that ended by itself is why we are here
                part.terminate()
            await part.wait()
        log.close()


if __name__ == "__main__":
    drive(opened)
