"""All services as processes with nothing in their environment but what they need, their secrets in files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Process
from tests.security.locked import ROOT, Locked


class Bare(Process):
    """Inherits no environment."""

    def start(self) -> "Bare":
        environment = {**bare(self.log.parent), **self.environment, "ANABRANCH_METRICS_PORT": str(self.port)}
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", self.module]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        return self

    def shown(self, what: str) -> str:
        """What the system shows of the process."""
        return Path(f"/proc/{self.pid}/{what}").read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def bare(home: Path) -> dict[str, str]:
    """What every process needs."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}


def secret(file: Path, url: str) -> str:
    """The file, with the address in it as an editor leaves it."""
    file.write_text(url + "\n")
    file.chmod(0o600)
    return str(file)


def secrets(folder: Path, servers: Locked, party: str, login: str | None) -> dict[str, str]:
    """The environment of a party: where its secrets are."""
    given = {"ANABRANCH_AMQP_URL_FILE": secret(folder / f"{party}-amqp", servers.amqp(party))}
    if login is not None:
        given["ANABRANCH_DATABASE_URL_FILE"] = secret(folder / f"{party}-database", servers.postgres(login))
    return given


@dataclass(frozen=True)
class House:
    router: Bare
    supervisor: Bare
    worker: Bare
    folder: Path

    @property
    def all(self) -> tuple[Bare, ...]:
        return self.router, self.supervisor, self.worker


@contextmanager
def house(folder: Path, servers: Locked) -> Iterator[House]:
    """Started and ready."""
    agents = {"ANABRANCH_AGENTS": "anabranch.demo.agents"}
    made = House(
        Bare("anabranch.router", secrets(folder, servers, "router", "router"), folder / "router.log"),
        Bare(
            "anabranch.branch_supervisor",
            secrets(folder, servers, "supervisor", "supervisor"),
            folder / "supervisor.log",
        ),
        Bare("anabranch.agent_worker", {**secrets(folder, servers, "worker", None), **agents}, folder / "worker.log"),
        folder,
    )
    try:
        for process in made.all:
            process.start()
        for process in made.all:
            process.await_ready()
        yield made
    finally:
        for process in made.all:
            if process.process is not None and process.process.poll() is None:
                process.kill()
