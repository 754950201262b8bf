"""docker-compose.yml cannot rot: its schema is checked, and each of its commands runs as a real process."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from tests.acceptance.client import client
from tests.processes import Process

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES = ("router", "branch-supervisor", "agent-worker")


def _services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def _environment(service: dict[str, Any], database_url: str, amqp_url: str) -> dict[str, str]:
    """The service's own environment, its addresses rewritten to servers on this machine."""
    local = {"ANABRANCH_DATABASE_URL": database_url, "ANABRANCH_AMQP_URL": amqp_url}
    given = service["environment"]
    return {k: local.get(k, v.split(":-")[-1].rstrip("}")) for k, v in given.items()}


def test_the_file_is_what_compose_expects() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workers_have_no_database_and_can_be_scaled() -> None:
    worker = _services()["agent-worker"]
    assert "ANABRANCH_DATABASE_URL" not in worker["environment"]
    assert "ports" not in worker and "container_name" not in worker


class Command(Process):
    """A compose service as a process: `anabranch <command>`."""

    def start(self) -> "Command":
        environment = {**os.environ, **self.environment, "ANABRANCH_METRICS_PORT": str(self.port)}
        arguments = self.module.split()
        with self.log.open("ab") as output:
            command = [sys.executable, "-c", "from anabranch.cli.main import main; main()", *arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        return self


async def _one_run(amqp_url: str) -> dict[str, Any]:
    from anabranch.demo.agents import TOPOLOGY

    async with client(amqp_url) as asking:
        await asking.request([uuid4()], TOPOLOGY, {"path": str(ROOT / "contracts")})
        await asking.collect(1, 60)
        return next(iter(asking.outcomes.values()))


def test_every_command_of_the_file_runs(empty_database_url: str, amqp_url: str, tmp_path: Path) -> None:
    services = _services()
    made = {
        name: Command(
            " ".join(services[name]["command"]),
            _environment(services[name], empty_database_url, amqp_url),
            tmp_path / f"{name}.log",
        )
        for name in ("migrate", *SERVICES)
    }
    migrating = made.pop("migrate").start()
    assert migrating.process is not None and migrating.process.wait(60) == 0, migrating.log.read_text()
    try:
        for process in made.values():
            process.start()
        for process in made.values():
            process.await_ready()
        outcome = asyncio.run(_one_run(amqp_url))
        assert outcome["status"] == "completed" and "## Hotspots" in outcome["result"]
        assert {name: process.terminate() for name, process in made.items()} == dict.fromkeys(SERVICES, 0)
    finally:
        for process in made.values():
            if process.process is not None and process.process.poll() is None:
                process.kill()
