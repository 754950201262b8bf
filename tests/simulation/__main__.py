"""`python -m tests.simulation --runs N`: play N runs of random topologies; a finding prints what replays it, shrunk."""

import argparse
import gc
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from os import cpu_count, environ, execv
from statistics import mean, median

import orjson
import structlog
from prometheus_client import Counter, Histogram

from tests.simulation.coverage import missed, table
from tests.simulation.laws import Case, Tally, Violation, calmly, check, judged
from tests.simulation.shrink import shrink
from tests.simulation.world import SILENT

PATIENCE = 20
SHRINKING = 300
BATCH = 50
TELL_SECONDS = 20.0
ENOUGH = 300_000  # runs after which every port call must have been crashed at


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


def _prepare() -> None:
    """No logs, no metrics, and no garbage collector in the middle of a world."""
    for kind, call in ((Counter, "inc"), (Histogram, "observe")):
        setattr(kind, call, lambda *_: None)
    structlog.configure(wrapper_class=SILENT, cache_logger_on_first_use=True)
    gc.freeze()
    gc.disable()


def _batch(first: int) -> tuple[Tally, list[str]]:
    tally, broken = Tally(), list[str]()
    for seed in range(first, first + BATCH):
        try:
            with _within(PATIENCE):
                check(seed, seed * 7919, tally)
        except Violation as violation:
            broken.append(_told(violation))
    gc.collect()
    return tally, broken


def _told(violation: Violation) -> str:
    """The finding, and beneath it the small one."""
    try:
        with _within(SHRINKING):
            small = shrink(violation.case).replay
    except Exception as error:  # the finding counts, small or not
        small = f"not shrunk: {error!r}"
    return f"{str(violation)[:3000]}\nshrunk:\n{small}"


def main() -> int:
    """Parse, play, report; 1 when a law was broken or a port call was never crashed at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=2000,
        help="simulated runs, at least",
    )
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--case", help="play one case again, as a finding printed it")
    args = parser.parse_args()
    if "PYTHONHASHSEED" not in environ:  # sets of names are part of what a seed decides
        environ["PYTHONHASHSEED"] = str(args.first % 1000)
        execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    _prepare()
    if args.case is not None:
        case = Case(**orjson.loads(args.case))
        print(judged(case, calmly(case)).status)
        return 0
    return _many(args.first, args.runs)


def _many(first: int, runs: int) -> int:
    total, broken, began = Tally(), list[str](), time.monotonic()
    told = began
    with ProcessPoolExecutor(cpu_count()) as pool:
        for after, (tally, found) in _batches(pool, first):
            total += tally
            broken += found
            print("".join(f"{one}\n" for one in found), end="", flush=True)
            if (now := time.monotonic()) - told >= TELL_SECONDS:
                told = now
                _progress(total, len(broken), now - began, after)
            if total.runs >= runs:
                break
        pool.shutdown(cancel_futures=True)
    _report(total, time.monotonic() - began)
    never = missed(total.faults) if total.runs >= ENOUGH else []
    if never:
        print("never crashed at: " + ", ".join(never))
    print(f"{total.runs} runs, {len(broken)} violations")
    return 1 if broken or never else 0


def _batches(pool: ProcessPoolExecutor, first: int) -> Iterator[tuple[int, tuple[Tally, list[str]]]]:
    """What was played, batch after batch, with the seed that follows; some are always under way."""
    under_way: deque[Future[tuple[Tally, list[str]]]] = deque()
    for seed in count(first, BATCH):
        under_way.append(pool.submit(_batch, seed))
        if len(under_way) >= 3 * (cpu_count() or 1):
            yield seed + BATCH - (len(under_way) - 1) * BATCH, under_way.popleft().result()


def _progress(total: Tally, violations: int, seconds: float, after: int) -> None:
    speed = f"{total.runs / seconds:.0f} runs/s; what follows is --first {after}"
    print(f"{total.runs} runs, {violations} violations, {speed}", file=sys.stderr, flush=True)


def _report(total: Tally, seconds: float) -> None:
    print(table(total.faults))
    print(f"outcomes {dict(total.statuses)}, conflicts {total.seen['conflict']}")
    print(
        f"{total.events / max(1, total.runs):.1f} events a run, accepted steps: mean {mean(total.steps):.1f}, "
        f"median {median(total.steps):g}, most {max(total.steps)}; "
        f"{seconds:.0f} s, {total.runs / seconds:.0f} runs/s on {cpu_count()} cores"
    )


if __name__ == "__main__":
    sys.exit(main())
