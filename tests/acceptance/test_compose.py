"""docker-compose.yml cannot rot: its schema is checked, and each of its commands runs as a real process."""

import asyncio
import os
import re
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


def _environment(service: dict[str, Any], folder: Path, database_url: str, amqp_url: str) -> dict[str, str]:
    """The service's own environment, its secrets on this machine."""
    urls = {"ANABRANCH_DATABASE_URL_FILE": database_url, "ANABRANCH_AMQP_URL_FILE": amqp_url}
    given = dict(service["environment"])
    for name in urls.keys() & given.keys():
        file = folder / Path(given[name]).name
        file.write_text(urls[name] + "\n")
        given[name] = str(file)
    return {name: value.split(":-")[-1].rstrip("}") for name, value in given.items()}


def test_no_secret_stands_in_the_file_and_each_is_made(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "ops/make_secrets.py", tmp_path], check=True)
    first = {file.name: file.read_text() for file in tmp_path.iterdir()}
    named = yaml.safe_load(COMPOSE.read_text())["secrets"]
    assert {Path(secret["file"]).name for secret in named.values()} <= set(first)
    assert not re.search(r"PASSWORD:|://[^/ ]*:[^/ ]*@", COMPOSE.read_text())
    subprocess.run([sys.executable, ROOT / "ops/make_secrets.py", tmp_path], check=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == first, "what is there stays"


def test_every_service_is_given_the_secrets_that_it_reads_and_no_other() -> None:
    for name, service in _services().items():
        read = {Path(v).name for k, v in service.get("environment", {}).items() if k.endswith("_URL_FILE")}
        if name not in ("postgres", "definitions"):
            assert read == set(service.get("secrets", ())), name


def test_the_file_is_what_compose_expects() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workers_have_no_database_and_can_be_scaled() -> None:
    worker = _services()["agent-worker"]
    assert not [name for name in (*worker["environment"], *worker["secrets"]) if "database" in name.lower()]
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
            _environment(services[name], tmp_path, empty_database_url, amqp_url),
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
