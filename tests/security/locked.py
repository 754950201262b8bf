"""A broker and a database as in production: TLS only for clients, who show certificates, and a user for each party.

The broker loads `ops/rabbitmq/definitions.json` through `ops/rabbitmq/passwords.py`, the database runs
`ops/postgres/roles.sql` and the migrations as their owner: the files themselves are what is tested.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import quote, urlencode

import asyncpg
import trustme

from anabranch.runtime.postgres.migrate import upgrade
from tests.servers import RABBIT, Broker, Database, NoService
from tests.services import data_folder, free_port

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "ops/rabbitmq/definitions.json"
ROLES = ROOT / "ops/postgres/roles.sql"
PARTIES = ("router", "supervisor", "worker", "client", "operator")
LOGINS = ("owner", "router", "supervisor", "operator", "console")
HBA = """
hostssl all postgres 127.0.0.1/32 trust
hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
"""
BROKER = """
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
load_definitions = {folder}/definitions.json
"""


class Certificates:
    """An authority of our own, what it signed, and one that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ours, other = trustme.CA(), trustme.CA()
        ours.cert_pem.write_to_path(str(self.ca))
        other.cert_pem.write_to_path(str(self.unknown_ca))
        self._issue("server", ours.issue_cert("localhost"))  # not 127.0.0.1: that is the wrong name
        self._issue("client", ours.issue_cert("service@anabranch.test"))
        self._issue("stranger", other.issue_cert("service@anabranch.test"))

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def unknown_ca(self) -> Path:
        return self.folder / "unknown-ca.pem"

    def pair(self, name: str) -> tuple[Path, Path]:
        """Certificate and key."""
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _issue(self, name: str, leaf: trustme.LeafCert) -> None:
        certificate, key = self.pair(name)
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)


class Encrypted(Database):
    """Of the system's binaries: those of the wheel know no TLS."""

    def make(self) -> None:
        """Make its data folder."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise NoService("these tests need a Postgres that knows TLS: apt-get install postgresql")
        user = "nobody" if os.geteuid() == 0 else None
        data = _folder(self._folder / "data")
        if user:
            shutil.chown(data, user)
        command = [
            found[-1].with_name("initdb"),
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", user=user)
        self._command = [str(found[-1]), "-D", str(data)]


@dataclass
class Locked:
    """Where to connect to, and as whom."""

    certificates: Certificates
    passwords: dict[str, str]
    broker: Broker
    tls_port: int
    database: Database

    def amqp(self, party: str, host: str = "localhost", **changed: object) -> str:
        """URL of the broker for a party; `changed` TLS parameters, None = without."""
        certificate, key = self.certificates.pair("client")
        tls = {"cafile": self.certificates.ca, "certfile": certificate, "keyfile": key}
        user = f"anabranch-{party}"
        password = quote(self.passwords[user], safe="")
        return f"amqps://{user}:{password}@{host}:{self.tls_port}/?{_query(tls, changed)}"

    def postgres(self, login: str, host: str = "localhost", **changed: object) -> str:
        """URL of the database for a login."""
        certificate, key = self.certificates.pair("client")
        tls = {"sslmode": "verify-full", "sslrootcert": self.certificates.ca, "sslcert": certificate, "sslkey": key}
        user = f"anabranch_{login}"
        port, password = self.database.port, quote(self.passwords[user], safe="")
        return f"postgresql://{user}:{password}@{host}:{port}/anabranch?{_query(tls, changed)}"

    @cached_property
    def superuser(self) -> str:
        """URL of the database for who looks what has become of it."""
        return f"postgresql://postgres@localhost:{self.database.port}/anabranch?sslmode=require"


def _query(usual: dict[str, object], changed: dict[str, object]) -> str:
    return urlencode({name: str(value) for name, value in {**usual, **changed}.items() if value is not None})


@contextmanager
def locked() -> Iterator[Locked]:
    """Both servers, for the duration."""
    if not RABBIT.exists():
        raise NoService("these tests need a RabbitMQ node of their own: apt-get install rabbitmq-server")
    with data_folder() as folder:
        certificates = Certificates(_folder(folder / "tls"))
        users = [*(f"anabranch-{p}" for p in PARTIES), *(f"anabranch_{name}" for name in LOGINS)]
        passwords = {user: token_urlsafe(12) + "/+@:%" for user in users}
        with _broker(certificates, passwords) as (broker, tls_port), _database(folder, certificates) as database:
            made = Locked(certificates, passwords, broker, tls_port, database)
            asyncio.run(_prepare(made))
            yield made


def _folder(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o755)
    return path


@contextmanager
def _broker(certificates: Certificates, passwords: dict[str, str]) -> Iterator[tuple[Broker, int]]:
    tls_port = free_port()
    broker = Broker(free_port(), free_port(), free_port())
    (broker.home / "rabbitmq.conf").write_text(BROKER.format(port=tls_port, folder=certificates.folder))
    (certificates.folder / "definitions.json").write_text(json.dumps(_definitions(passwords)))
    try:
        broker.start()
        yield broker, tls_port
    finally:
        broker.close()


@contextmanager
def _files(passwords: dict[str, str]) -> Iterator[Path]:
    """A folder with each password in a file of its user's name."""
    with tempfile.TemporaryDirectory() as folder:
        for user, password in passwords.items():
            (Path(folder) / user).write_text(password + "\n")
        yield Path(folder)


def _set_passwords(made: Locked) -> None:
    """As `ops/postgres/passwords.sh` sets them."""
    where = {"PGHOST": "localhost", "PGPORT": str(made.database.port), "PGSSLMODE": "require"}
    with _files(made.passwords) as folder:
        environment = {**os.environ, **where, "PGUSER": "postgres", "PGDATABASE": "anabranch", "SECRETS": str(folder)}
        subprocess.run([ROOT / "ops/postgres/passwords.sh"], check=True, capture_output=True, env=environment)


def _definitions(passwords: dict[str, str]) -> object:
    """What the documented command makes of the file in the repository."""
    with _files(passwords) as folder:
        command = [sys.executable, str(ROOT / "ops/rabbitmq/passwords.py"), str(DEFINITIONS), str(folder)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def _database(folder: Path, certificates: Certificates) -> Iterator[Database]:
    server, key = certificates.pair("server")
    if os.geteuid() == 0:
        shutil.chown(key, "nobody")
    (folder / "pg_hba.conf").write_text(HBA)
    options = {"ssl": "on", "ssl_cert_file": str(server), "ssl_key_file": str(key)}
    options |= {"ssl_ca_file": str(certificates.ca), "hba_file": str(folder / "pg_hba.conf"), "fsync": "off"}
    database = Encrypted(folder, free_port(), options)
    database.make()
    try:
        database.start()
        yield database
    finally:
        database.kill()


async def _prepare(made: Locked) -> None:
    """The database, its roles with their passwords, and the schema, made by its owner."""
    await _execute(made.superuser.replace("/anabranch?", "/postgres?"), "CREATE DATABASE anabranch")
    await _execute(made.superuser, ROLES.read_text())
    _set_passwords(made)
    await upgrade(made.postgres("owner"))


async def _execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()
