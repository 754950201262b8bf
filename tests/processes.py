"""Real service processes, started, awaited and killed."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.services import free_port

READY_SECONDS = 60


@dataclass
class Process:
    """One service process; `restart` after a kill keeps its environment."""

    module: str
    environment: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Process":
        environment = {**os.environ, **self.environment, "ANABRANCH_METRICS_PORT": str(self.port)}
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", self.module]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        return self

    def ready(self) -> bool:
        """What /readyz says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def await_ready(self) -> "Process":
        """Wait for /readyz; raises with the log's end when the process died or never came up."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.module} is not ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it holds what it has and does nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(45)


@dataclass
class House:
    """Router, supervisor and worker, each as often as asked."""

    routers: list[Process]
    supervisors: list[Process]
    workers: list[Process]

    @property
    def all(self) -> list[Process]:
        return [*self.routers, *self.supervisors, *self.workers]

    def restart(self) -> None:
        """`kill -9` of every process, and then each of them anew, until it is ready."""
        for process in self.all:
            process.kill()
        for process in self.all:
            process.start()
        for process in self.all:
            process.await_ready()


@contextmanager
def house(
    database_url: str, amqp_url: str, folder: Path, agents: Path | str | None = None, replicas: int = 1
) -> Iterator[House]:
    """Started and ready; killed at the end whatever happened."""
    broker = {"ANABRANCH_AMQP_URL": amqp_url}
    both = {**broker, "ANABRANCH_DATABASE_URL": database_url}

    def several(module: str, environment: dict[str, str]) -> list[Process]:
        logs = (folder / f"{module.rsplit('.', 1)[-1]}-{i}.log" for i in range(replicas))
        return [Process(module, environment, log).start() for log in logs]

    made = House(
        several("anabranch.router", both),
        several("anabranch.branch_supervisor", both),
        several("anabranch.agent_worker", {**broker, "ANABRANCH_AGENTS": str(agents)}) if agents else [],
    )
    try:
        for process in made.all:
            process.await_ready()
        yield made
    finally:
        for process in made.all:
            if process.process is not None and process.process.poll() is None:
                process.kill()
