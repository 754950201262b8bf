"""`python -m tests.simulation --runs N`: play N runs of random topologies; a finding prints what replays it, shrunk."""

import argparse
import os
import sys
import time
from contextlib import closing
from os import cpu_count, environ, execv
from statistics import mean, median

import orjson

from tests.simulation.coverage import missed, table
from tests.simulation.laws import Case, Tally, calmly, judged
from tests.simulation.pool import batches, prepare

TELL_SECONDS = 20.0
ENOUGH = 50_000  # runs after which every port call must have been crashed at


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
    prepare()
    if args.case is not None:
        case = Case(**orjson.loads(args.case))
        print(judged(case, calmly(case)).status)
        return 0
    return _many(args.first, args.runs)


def _many(first: int, runs: int) -> int:
    total, broken, began = Tally(), list[str](), time.monotonic()
    told = began
    with closing(batches(first)) as played:
        for after, (tally, found) in played:
            total += tally
            broken += found
            print("".join(f"{one}\n" for one in found), end="", flush=True)
            if (now := time.monotonic()) - told >= TELL_SECONDS:
                told = now
                _progress(total, len(broken), now - began, after)
            if total.runs >= runs:
                break
    _report(total, time.monotonic() - began)
    never = missed(total.faults) if total.runs >= ENOUGH else []
    if never:
        print("never crashed at: " + ", ".join(never))
    print(f"{total.runs} runs, {len(broken)} violations")
    return 1 if broken or never else 0


def _progress(total: Tally, violations: int, seconds: float, after: int) -> None:
    speed = f"{total.runs / seconds:.0f} runs/s; what follows is --first {after}"
    print(f"{total.runs} runs, {violations} violations, {speed}", file=sys.stderr, flush=True)


def _report(total: Tally, seconds: float) -> None:
    print(table(total.faults))
    print(f"outcomes {dict(total.statuses)}, conflicts {total.seen['conflict']}")
    spent = os.times().children_user + os.times().children_system
    print(
        f"{total.events / max(1, total.runs):.1f} events a run, accepted steps: mean {mean(total.steps):.1f}, "
        f"median {median(total.steps):g}, most {max(total.steps)}; "
        f"{seconds:.0f} s, {total.runs / seconds:.0f} runs/s on {cpu_count()} cores, "
        f"{total.runs / spent:.0f} for each second of a processor"
    )


if __name__ == "__main__":
    sys.exit(main())
