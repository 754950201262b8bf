"""Seeds played batch after batch in a few processes; one that dies is a finding, and the rest goes on.

Each process may have so much memory and no more: a world that grows without bound must not take the machine along.
"""

import gc
import resource
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count
from os import cpu_count

import structlog
from prometheus_client import Counter, Histogram

from tests.simulation.laws import HASHES, Tally, Violation, check
from tests.simulation.shrink import shrink
from tests.simulation.world import SILENT

PATIENCE = 20
SHRINKING = 300
BATCH = 50
MEMORY = 2 * 1024**3
Played = tuple[Tally, list[str]]


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Of work, not of the wall's clock: others may be at work beside us."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"no end after {seconds} s of work")

    signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def prepare() -> None:
    """No logs, no metrics, no garbage collector in the middle of a world, and memory is not without end."""
    for kind, call in ((Counter, "inc"), (Histogram, "observe")):
        setattr(kind, call, lambda *_: None)
        setattr(kind, "labels", lambda metric, *_: metric)  # noqa: B010 - mypy refuses the assignment
    structlog.configure(wrapper_class=SILENT, cache_logger_on_first_use=True)
    gc.freeze()
    gc.disable()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))


def _play(first: int, size: int) -> Played:
    tally, broken = Tally(), list[str]()
    for seed in range(first, first + size):
        try:
            with _within(PATIENCE):
                check(seed, seed * 7919, tally)
        except Violation as violation:
            broken.append(str(violation)[:3000] if broken else _told(violation))
        except Exception as defect:  # of the simulator, or no memory was left
            broken.append(f"seed {seed}: {defect!r}\n{_command(seed)}")
    gc.collect()
    return tally, broken


def _told(violation: Violation) -> str:
    """The finding, and beneath it the small one; where a batch has several, they are likely one."""
    try:
        with _within(SHRINKING):
            small = shrink(violation.case).replay
    except Exception as error:  # the finding counts, small or not
        small = f"not shrunk: {error!r}"
    return f"{str(violation)[:3000]}\nshrunk:\n{small}"


def _command(seed: int) -> str:
    return f"{HASHES}python -m tests.simulation --first {seed} --runs 1"


def batches(first: int) -> Iterator[tuple[int, Played]]:
    """What was played, batch after batch, with the seed that follows; some are always under way."""
    processes = cpu_count() or 1
    pool, under_way = ProcessPoolExecutor(processes), deque[tuple[int, Future[Played]]]()
    try:
        for seed in count(first, BATCH):
            under_way.append((seed, _begun(pool, seed)))
            if len(under_way) < 3 * processes:
                continue
            begun, future = under_way.popleft()
            try:
                played = future.result()
            except BrokenProcessPool:  # by this batch or another one: each gets its turn to be played apart
                pool = ProcessPoolExecutor(processes)
                under_way = deque((other, _begun(pool, other)) for other, _ in under_way)
                played = _apart(begun)
            yield begun + BATCH, played
    finally:
        pool.shutdown(cancel_futures=True)


def _begun(pool: ProcessPoolExecutor, first: int) -> Future[Played]:
    try:
        return pool.submit(_play, first, BATCH)
    except BrokenProcessPool as broken:
        ended = Future[Played]()
        ended.set_exception(broken)
        return ended


def _apart(first: int) -> Played:
    """A batch, each seed in a process of its own."""
    total, broken = Tally(), list[str]()
    for seed in range(first, first + BATCH):
        with ProcessPoolExecutor(1) as pool:
            try:
                tally, found = pool.submit(_play, seed, 1).result()
            except BrokenProcessPool:
                tally, found = Tally(), [f"seed {seed}: its process died, perhaps for want of memory\n{_command(seed)}"]
        total += tally
        broken += found
    return total, broken
