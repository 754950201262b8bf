"""Ways to put a database back to an earlier point: its disk, a dump in another cluster, a standby that was behind."""

import asyncio
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

import asyncpg

from anabranch.runtime.postgres.migrate import upgrade
from tests.security.locked import Encrypted
from tests.servers import Database
from tests.services import free_port

USER = "nobody" if os.geteuid() == 0 else None
STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walreceiver' AND state = 'streaming'"


class Backup(ABC):
    """A server of our own, and what it was at the moment of `take`; after `put_back`, `url` is where that is now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[Database] = []
        self.server: Database = self.made("first")

    @property
    def url(self) -> str:
        return self.server.url

    def made(self, name: str) -> Database:
        """A server in a folder of its own, not yet with data."""
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o755)
        self._servers.append(Encrypted(folder, free_port()))
        return self._servers[-1]

    async def open(self) -> None:
        """Start it, with our tables."""
        assert isinstance(self.server, Encrypted)
        await asyncio.to_thread(self.server.make)
        await asyncio.to_thread(self.server.start)
        await upgrade(self.url)

    @abstractmethod
    async def take(self) -> None:
        """What is committed now is kept."""

    @abstractmethod
    async def put_back(self) -> None:
        """What came after that never was."""

    def close(self) -> None:
        """End everything that was started."""
        for server in self._servers:
            server.kill()

    async def fetch(self, statement: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()


class Disk(Backup):
    """A snapshot of its disk, and its files put back."""

    async def take(self) -> None:
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(_copied, self._data, self.folder / "copy")
        await asyncio.to_thread(self.server.start)

    async def put_back(self) -> None:
        await asyncio.to_thread(self.server.kill)
        shutil.rmtree(self._data)
        await asyncio.to_thread(_copied, self.folder / "copy", self._data)
        await asyncio.to_thread(self.server.start)

    @property
    def _data(self) -> Path:
        return Path(self.server._command[-1])


class Dump(Backup):
    """`pg_dump` of what is at work, and `pg_restore` into a new cluster, whose transaction ids are lower."""

    async def take(self) -> None:
        command = [_program("pg_dump"), "-Fc", "-d", self.url, "-f", self.folder / "dump"]
        await asyncio.to_thread(subprocess.run, command, check=True)

    async def put_back(self) -> None:
        await asyncio.to_thread(self.server.kill)
        self.server = fresh = self.made("second")
        assert isinstance(fresh, Encrypted)
        await asyncio.to_thread(fresh.make)
        await asyncio.to_thread(fresh.start)
        command = [_program("pg_restore"), "--exit-on-error", "--no-owner", "--no-acl", "-d", self.url]
        await asyncio.to_thread(subprocess.run, [*command, self.folder / "dump"], check=True)


class Standby(Backup):
    """A standby that was cut off from its primary at the moment of `take`, and is promoted when that has burnt."""

    async def open(self) -> None:
        await super().open()
        self._standby = standby = self.made("second")
        data = standby._folder / "data"
        data.mkdir(mode=0o700)
        if USER:
            shutil.chown(data, USER)
        where = ["-h", "127.0.0.1", "-p", str(self.server.port), "-U", "postgres"]
        command = [_program("pg_basebackup"), *where, "-D", data, "-R", "-X", "stream", "-c", "fast"]
        await asyncio.to_thread(subprocess.run, command, check=True, cwd="/", user=USER)
        standby._command = [self.server._command[0], "-D", str(data)]
        await asyncio.to_thread(standby.start)
        async with asyncio.timeout(60):
            while not (await self.fetch(STREAMS))[0]["count"]:  # noqa: ASYNC110 - SQL has no signal
                await asyncio.sleep(0.05)

    async def take(self) -> None:
        await asyncio.to_thread(self._standby.kill)

    async def put_back(self) -> None:
        await asyncio.to_thread(self.server.kill)
        self.server = self._standby
        await asyncio.to_thread(self.server.start)
        assert (await self.fetch("SELECT pg_promote(wait_seconds => 60)"))[0]["pg_promote"]


def _program(name: str) -> Path:
    """Of the same release as the server."""
    return sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))[-1]


def _copied(source: Path, target: Path) -> None:
    """With owners and modes."""
    subprocess.run(["cp", "-a", source, target], check=True)
