"""Where a subject works and how it is started and ended: nothing that it made or began is left."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from threading import Thread, Timer
from typing import IO

from ops.bench.contest import ROOT, Entry
from tests import services


@contextmanager
def place(database: str, broker: str, parent: Path) -> Iterator[dict[str, str]]:
    """Where one subject works, empty and its own."""
    with (
        services.fresh_database(database) as database_url,
        services.fresh_vhost(broker) as amqp_url,
        tempfile.TemporaryDirectory(dir=parent, prefix=".place-") as folder,  # a disk: /tmp may be memory
    ):
        yield {
            "BENCH_DATABASE_URL": database_url,
            "BENCH_AMQP_URL": amqp_url,
            "BENCH_FOLDER": folder,
            "BENCH_MARKS": f"{folder}/marks",
        }


@contextmanager
def started(
    entry: Entry, arguments: list[str], environment: dict[str, str]
) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """The subject and its log; at the end it and all that it started are gone."""
    own = {**_plain(os.environ), **environment, **entry.environment, "PYTHONPATH": str(ROOT)}
    command = [str(entry.python), "-m", entry.module, *arguments]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=own, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        Thread(target=reap, args=[process], daemon=True).start()
        try:
            yield process, log
        finally:
            end(process)


def said(process: "subprocess.Popen[str]", patience: float) -> Iterator[str]:
    """Line by line; who says nothing for too long is ended."""
    assert process.stdout is not None
    while True:
        watchdog = Timer(patience, end, [process])
        watchdog.start()
        line = process.stdout.readline()
        watchdog.cancel()
        if not line:
            return
        yield line


def _plain(environment: "os._Environ[str]") -> dict[str, str]:
    """What is set for anabranch here, but for where the services are, is not meant for the benchmark."""
    meant = ("ANABRANCH_DATABASE_URL", "ANABRANCH_AMQP_URL")
    return {name: value for name, value in environment.items() if name in meant or not name.startswith("ANABRANCH_")}


def reap(process: "subprocess.Popen[str]") -> None:
    """Whatever it leaves behind ends with it, and with that what is to be read of it."""
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, SIGKILL)


def end(process: "subprocess.Popen[str]") -> None:
    """Ask the whole group to end, then make it."""
    for number, patience in ((SIGTERM, 15.0), (SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
