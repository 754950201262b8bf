"""The Postgres and RabbitMQ that tests use: from the environment, local, embedded, or containers. Never none."""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from anabranch.runtime.postgres.embedded import EmbeddedPostgres
from tests.servers import RABBIT, NoService, broker

FIRST_PORT, PORTS = 20_000, 12_000
_CONTROLS: dict[str, Callable[..., object]] = {}  # how to make virtual hosts, by the broker's URL


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody answers on the port."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def postgres() -> Iterator[str]:
    """URL of a server on which databases may be created."""
    if url := os.environ.get("ANABRANCH_DATABASE_URL"):
        yield url
    elif listens(5432) and _admits("postgresql://postgres@127.0.0.1:5432/postgres"):
        yield "postgresql://postgres@127.0.0.1:5432/postgres"
    else:
        yield from _own_postgres()


def _admits(url: str) -> bool:
    async def try_it() -> None:
        await (await asyncpg.connect(url, timeout=5)).close()

    try:
        asyncio.run(try_it())
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    return True


def _own_postgres() -> Iterator[str]:
    with data_folder() as folder:
        server = EmbeddedPostgres(folder)
        runner = asyncio.Runner()
        try:
            yield runner.run(server.__aenter__()).replace("+asyncpg", "")
        finally:
            runner.run(server.__aexit__())
            runner.close()


@contextmanager
def data_folder() -> Iterator[Path]:
    """An empty folder for an embedded engine, which its unprivileged server can reach; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="anabranch-data-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def rabbitmq() -> Iterator[str]:
    """URL of a broker, without a virtual host."""
    if url := os.environ.get("ANABRANCH_AMQP_URL"):
        parts = urlsplit(url)
        yield _found(f"{parts.scheme}://{parts.netloc}")
    elif listens(5672):
        yield _found("amqp://guest:guest@127.0.0.1:5672")
    elif RABBIT.exists():
        yield from _own_rabbitmq()
    else:
        yield from _container()


def _found(url: str) -> str:
    """A broker that was there; if it is this machine's and we may, each test gets a virtual host on it."""
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost") and urlsplit(url).port in (5672, None)
    if local and os.geteuid() == 0 and shutil.which("rabbitmqctl"):
        _CONTROLS[url] = partial(_control, "rabbitmqctl")
    return url


def _container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    try:
        container = DockerContainer("rabbitmq:4").with_exposed_ports(5672)
        container.waiting_for(LogMessageWaitStrategy("Server startup complete")).start()
        url = f"amqp://guest:guest@{container.get_container_host_ip()}:{container.get_exposed_port(5672)}"
    except Exception as error:  # whatever the engine says, the mend is the same
        raise NoService(
            f"no RabbitMQ: none on 127.0.0.1:5672, none installed, no container engine ({error}); "
            "apt-get install rabbitmq-server, start Docker, or set ANABRANCH_AMQP_URL"
        ) from error
    try:
        _CONTROLS[url] = lambda *arguments: container.exec(["rabbitmqctl", "-q", *arguments])
        yield url
    finally:
        container.stop()


def free_port() -> int:
    """A port that nobody uses now, nor gets while its server is dead: below those that are given to clients."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _own_rabbitmq() -> Iterator[str]:
    with broker((free_port(), free_port(), free_port())) as node:
        _CONTROLS[node.url] = node.control
        yield node.url


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """A new, empty database, dropped afterwards."""
    name = f"anabranch_{uuid4().hex[:16]}"
    _execute(server_url, f'CREATE DATABASE "{name}"')
    base, _, query = server_url.partition("?")
    try:
        yield f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    finally:
        _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(url: str, statement: str) -> None:
    async def do() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(do())


@contextmanager
def fresh_vhost(server_url: str) -> Iterator[str]:
    """A virtual host of one's own; where we may not make one, the default, of a broker for tests alone."""
    control = _CONTROLS.get(server_url)
    if control is None:
        _purge(server_url + "/")
        yield server_url + "/"
        return
    name = f"anabranch-{uuid4().hex[:12]}"
    control("add_vhost", name)
    control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    try:
        yield f"{server_url}/{name}"
    finally:
        control("delete_vhost", name)


def leader(url: str, queue: str, order: str) -> None:
    """`suspend` or `resume` the process that leads a quorum queue: one that is busy, or out of reach, looks so."""
    server, _, name = url.rpartition("/")
    _CONTROLS[server]("eval", f"sys:{order}(whereis('{name or '%2F'}_{queue}')).")


def wipe(url: str) -> None:
    """Delete the virtual host of a test and make it anew: no queue, no message, no connection is left."""
    server, _, name = url.rpartition("/")
    control = _CONTROLS[server]
    control("delete_vhost", name)
    control("add_vhost", name)
    control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")


def _control(program: str, *arguments: str) -> None:
    subprocess.run([program, "-q", *arguments], check=True, capture_output=True)


def _purge(url: str) -> None:
    import aio_pika

    from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE

    async def do() -> None:
        async with await aio_pika.connect(url) as connection:
            for queue in (ROUTER_QUEUE, SUPERVISOR_QUEUE, PARKED_QUEUE):
                await (await connection.channel()).queue_delete(queue)

    asyncio.run(do())
