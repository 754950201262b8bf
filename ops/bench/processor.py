"""Who spent the processor's time during a workload: shares of all cores; standard library only.

Counted are the subject's own processes (its session), the sessions of its database and what its Postgres does for
all, RabbitMQ as a whole, and in `others` whatever else kept the cores busy. A process that has ended is not counted.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Shares = dict[str, list[float]]
TICKS = os.sysconf("SC_CLK_TCK")
BROKER, SESSIONS, DATABASE, OTHERS = "RabbitMQ", "Postgres", "Postgres itself", "others"


def spent(database: str) -> dict[tuple[str, int], float]:
    """Seconds so far of each process that counts, by what it is and its number."""
    found: dict[tuple[str, int], float] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (place / "stat").read_text().partition("(")[2].rpartition(")")
            command = (place / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        fields = rest.split()
        if (kind := _kind(int(place.name), name, command, int(fields[3]), database)) is not None:
            found[kind, int(place.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


def _kind(pid: int, name: str, command: str, session: int, database: str) -> str | None:
    """What a process is; None where it has nothing to do with the subject."""
    if session == os.getsid(0):
        return "client" if pid == os.getpid() else _module(name, command.split("\0"))
    if name == "beam.smp":
        return BROKER
    if name != "postgres" or not database:
        return None
    return SESSIONS if database in command else DATABASE if "(" not in command else None


def _module(name: str, words: list[str]) -> str:
    """The module that Python runs, with what it was asked to be there; else the program."""
    if "-m" not in words:
        return name
    module, *rest = words[words.index("-m") + 1 :]
    part = f" {rest[0]}" if rest and rest[0].isalpha() else ""
    return module.rpartition(".")[2] + part


def worked(database_url: str) -> float:
    """Seconds so far, to the nanosecond, of the subject's processes and sessions; of threads that are there."""
    database = database_url.rpartition("/")[2].partition("?")[0]
    return sum(_ran(pid) for kind, pid in spent(database) if kind not in (BROKER, DATABASE))


def _ran(pid: int) -> float:
    nanoseconds = 0
    for place in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            nanoseconds += int(place.read_text().split()[0])
    return nanoseconds / 1e9


def busy() -> float:
    """Seconds that all cores together have worked."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / TICKS


@contextmanager
def watched(database_url: str) -> Iterator[Shares]:
    """The shares of each kind, one for every process of it, most first; filled in when the context ends."""
    database, shares = database_url.rpartition("/")[2].partition("?")[0], Shares()
    before, worked, began = spent(database), busy(), time.monotonic()
    yield shares
    after, whole = spent(database), (time.monotonic() - began) * (os.cpu_count() or 1)
    kinds = defaultdict(list)
    for (kind, pid), seconds in after.items():
        kinds[kind].append((seconds - before.get((kind, pid), 0.0)) / whole)
    for kind in (SESSIONS, DATABASE):  # one process a connection: together
        kinds[kind] = [sum(kinds[kind])]
    kinds[OTHERS] = [max(0.0, (busy() - worked) / whole - sum(map(sum, kinds.values())))]
    for kind in sorted(kinds, key=lambda one: -sum(kinds[one])):
        shares[kind] = sorted(kinds[kind], reverse=True)
