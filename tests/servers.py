"""A RabbitMQ node and a Postgres of our own, which may be killed, frozen, wiped and started again where they were."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from anabranch.runtime.postgres.embedded import EmbeddedPostgres

RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 60.0
DURABLE = {"fsync": "on", "synchronous_commit": "on", "max_connections": "200"}


class NoService(RuntimeError):
    """A service is missing and could not be started; says the mend."""


class Server(Protocol):
    """What a fault does to a server."""

    url: str

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...


def descendants(pid: int) -> list[int]:
    """The process and all that it has started, parents first."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Tree:
    """A server process with its children: signals reach all of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def signal(self, number: int) -> None:
        """Send it to everybody, the parent first, so that nobody is replaced."""
        if self._process is not None and self._process.poll() is None:
            for pid in descendants(self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """`kill -9`, as when the machine dies."""
        self.signal(signal.SIGSTOP)
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def _await(self, answers: "Answers", name: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoService(f"a {name} of our own did not start")
            time.sleep(0.05)


class Answers(Protocol):
    """Whether a server is there."""

    def __call__(self) -> bool: ...


class Broker(Tree):
    """A RabbitMQ node with its own folder, name and ports."""

    def __init__(self, port: int, distribution: int, epmd: int) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="anabranch-mq-"))
        (self.home / "plugins").write_text("[].\n")
        self.port = port
        self.url = f"amqp://guest:guest@127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "HOME": str(self.home),
            "RABBITMQ_NODENAME": f"test-{os.getpid()}-{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
        }

    def start(self) -> None:
        """Start, and wait until it welcomes clients."""
        with (self.home / "out.log").open("ab") as out:
            self._process = subprocess.Popen(
                [RABBIT], env=self._environment, stdout=out, stderr=out, start_new_session=True
            )
        self._await(lambda: _greets(self.port), "RabbitMQ (start one and set ANABRANCH_AMQP_URL)")

    def wipe(self) -> None:
        """Kill it and lose all its data."""
        self.kill()
        shutil.rmtree(self.home / "mnesia", ignore_errors=True)

    def control(self, *arguments: str) -> str:
        """`rabbitmqctl`; what it says."""
        command = [str(RABBIT.with_name("rabbitmqctl")), "-q", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self._environment).stdout

    def close(self) -> None:
        """End it and the port mapper that it started; remove its folder."""
        self.kill()
        for pid in _started_in(self.home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        shutil.rmtree(self.home, ignore_errors=True)


def _started_in(home: Path) -> list[int]:
    """Daemons that the node has left, known by their environment."""
    mark = f"HOME={home}\0".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def _greets(port: int) -> bool:
    """Whether it answers an AMQP header, which it does when it has booted."""
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            probe.settimeout(2)
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
    except OSError:
        return False


class Database(Tree):
    """A Postgres on a port, as in production: what it has confirmed is on disk."""

    def __init__(self, folder: Path, port: int, options: dict[str, str] | None = None) -> None:
        super().__init__()
        self._folder = folder
        self._options = {**DURABLE, "port": str(port), "listen_addresses": "127.0.0.1", **(options or {})}
        self._command: Sequence[str] = ()
        self.port = port
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    async def initialise(self) -> None:
        """Make its data folder."""
        engine = EmbeddedPostgres(self._folder)
        async with engine:
            self._command = [str(engine._bin / "postgres"), "-D", str(engine._data)]

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "postgres.log").open("ab") as out:
            self._process = subprocess.Popen(
                [*self._command, *options, "-c", "unix_socket_directories="],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,
                user="nobody" if os.geteuid() == 0 else None,
            )
        self._await(lambda: _serves(self.port), "Postgres")

    def gone(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def restart(self) -> None:
        """An orderly restart that waits for nobody: sessions end, what is committed stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self.start()


def _serves(port: int) -> bool:
    """Whether it accepts sessions: not only that it listens, as it does while it still recovers."""
    import asyncio

    import asyncpg

    async def ask() -> None:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        await (await asyncpg.connect(url, timeout=2)).close()

    try:
        asyncio.run(ask())
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    return True


@contextmanager
def broker(ports: tuple[int, int, int]) -> Iterator[Broker]:
    """A node that runs for the duration."""
    made = Broker(*ports)
    try:
        made.start()
        yield made
    finally:
        made.close()
