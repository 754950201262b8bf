"""Every service under its own users, over TLS, with secrets from files: the work gets done, and nothing is told."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from anabranch.client.orchestra import connected, request
from anabranch.demo.agents import TOPOLOGY
from anabranch.runtime.settings import Settings
from tests.audit import faults_of
from tests.security.house import Bare, House, bare, secret, secrets
from tests.security.locked import ROOT, Locked


async def one_run(servers: Locked) -> Any:
    """A whole run, asked for as `client` and looked at as `console`."""
    settings = Settings(amqp_url=servers.amqp("client"), database_url=servers.postgres("console"))
    body = request({"path": str(ROOT / "contracts")}, TOPOLOGY, None, None, None)
    async with connected(settings) as session:
        return await (await session.submit(body)).result()


def command(folder: Path, given: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`anabranch ...` with no other environment."""
    code = "from anabranch.cli.main import main; main()"
    environment = {**bare(folder), **given}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)


async def test_a_whole_run_needs_no_more_than_these_rights(servers: Locked, services: House) -> None:
    result = await one_run(servers)
    assert result.success and "## Hotspots" in result.final_response, result.error
    found = await faults_of(servers.superuser)
    assert not found.keys() - {"not one outcome"}, found  # other tests leave runs here that nobody serves
    logs = "".join(process.log.read_text() for process in services.all)
    assert "ACCESS_REFUSED" not in logs and "permission denied" not in logs


async def test_an_operator_can_operate(servers: Locked, services: House, tmp_path: Path) -> None:
    await one_run(servers)
    given = secrets(tmp_path, servers, "operator", "operator")
    for arguments in (["doctor"], ["projections", "verify"], ["projections", "rebuild"], ["recover"]):
        done = command(tmp_path, given, *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    assert command(tmp_path, given, "parked", "list", "--json").returncode == 0


async def test_a_console_reads_and_no_more(servers: Locked, services: House, tmp_path: Path) -> None:
    await one_run(servers)
    given = {"ANABRANCH_DATABASE_URL_FILE": secret(tmp_path / "database", servers.postgres("console"))}
    for arguments in (["runs"], ["show", "last"], ["trace", "last"], ["events", "last"], ["inbox"]):
        done = command(tmp_path, given, *arguments, "--json")
        assert done.returncode == 0 and json.loads(done.stdout) is not None, (arguments, done.stderr)
    for arguments in (["projections", "rebuild"], ["migrate"]):
        done = command(tmp_path, given, *arguments)
        if arguments == ["migrate"]:  # there is nothing to migrate: not even that asks for a right
            assert done.returncode == 0
        else:
            assert done.returncode == 3 and "permission denied" in done.stderr and "roles.sql" in done.stderr


def test_a_worker_has_no_database_and_no_driver(services: House) -> None:
    environment = services.worker.shown("environ")
    loaded = services.worker.shown("maps")
    assert "DATABASE" not in environment and "postgres" not in environment
    assert "asyncpg" not in loaded and "sqlalchemy" not in loaded
    assert "asyncpg" in services.router.shown("maps"), "where there is one, it would be seen"


async def texts(servers: Locked) -> str:
    """Everything that is stored of runs."""
    connection = await asyncpg.connect(servers.superuser)
    try:
        rows = [*await connection.fetch("SELECT e::text AS t FROM anabranch.events e")]
        rows += await connection.fetch("SELECT s::text AS t FROM anabranch.step_rows s")
        return "\n".join(row["t"] for row in rows)
    finally:
        await connection.close()


async def test_no_password_is_seen_by_ps_in_events_or_in_logs(servers: Locked, services: House) -> None:
    await one_run(servers)
    seen = await texts(servers)
    for process in services.all:
        seen += process.shown("cmdline") + process.shown("environ") + process.log.read_text()
    assert len(seen) > 10_000 and not [user for user, password in servers.passwords.items() if password in seen]


BROKEN = {
    "the broker refuses": lambda s: {"AMQP": s.amqp("router").replace("anabranch-router:", "anabranch-client:")},
    "the broker is not there": lambda s: {"AMQP": s.amqp("router").replace(f":{s.tls_port}/", ":1/")},
    "the database refuses": lambda s: {
        "DATABASE": s.postgres("router").replace("anabranch_router:", "anabranch_owner:")
    },
    "the database is another": lambda s: {"DATABASE": s.postgres("router").replace("/anabranch?", "/other?")},
    "the database's host is not there": lambda s: {"DATABASE": s.postgres("router", host="nowhere.invalid")},
    "the address is broken": lambda s: {"DATABASE": s.postgres("router").replace("%2F", "/")},
    "the address has a blank": lambda s: {"AMQP": s.amqp("router").replace("%2F", " ")},
}


@pytest.mark.parametrize("debug", [False, True], ids=["info", "debug"])
@pytest.mark.parametrize("broken", BROKEN)
def test_what_fails_tells_no_password(servers: Locked, tmp_path: Path, broken: str, debug: bool) -> None:
    given = {"AMQP": servers.amqp("router"), "DATABASE": servers.postgres("router"), **BROKEN[broken](servers)}
    urls = {f"ANABRANCH_{name}_URL_FILE": secret(tmp_path / name, url) for name, url in given.items()}
    level = {"ANABRANCH_LOG_LEVEL": "debug" if debug else "info"}
    failing = Bare("anabranch.router", {**urls, **level}, tmp_path / "router.log").start()
    assert failing.process is not None
    try:
        code = failing.process.wait(6)
    except subprocess.TimeoutExpired:
        failing.kill()
        code = None
    said = failing.log.read_text()
    doctor = command(tmp_path, urls, "doctor", *(["--debug"] if debug else []))
    said += doctor.stdout + doctor.stderr
    assert said and code in (2, 3, None) and "Traceback" not in failing.log.read_text()
    assert doctor.returncode != 0
    for password in servers.passwords.values():
        assert password not in said and not [part for part in password.split("/") if len(part) > 5 and part in said]


async def _rotate_database(servers: Locked, file: Path) -> None:
    servers.passwords["anabranch_router"] = "rotated/+@:%"
    connection = await asyncpg.connect(servers.superuser)
    try:
        await connection.execute("ALTER ROLE anabranch_router PASSWORD 'rotated/+@:%'")
        secret(file, servers.postgres("router"))
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'anabranch_router'"
        )
    finally:
        await connection.close()


async def test_rotated_passwords_need_no_restart(servers: Locked, services: House) -> None:
    pid = services.router.pid
    await _rotate_database(servers, services.folder / "router-database")
    servers.passwords["anabranch-router"] = "rotated-too"
    servers.broker.control("change_password", "anabranch-router", "rotated-too")
    secret(services.folder / "router-amqp", servers.amqp("router"))
    servers.broker.control("close_all_connections", "rotation")
    result = await one_run(servers)
    assert result.success and services.router.pid == pid and services.router.process is not None
    assert services.router.process.poll() is None
    os.kill(pid, 0)
