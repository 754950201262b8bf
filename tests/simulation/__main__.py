"""`python -m tests.simulation --runs N`: play N random topologies; a failure prints the command that replays it."""

import argparse
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count

from tests.simulation.laws import check

PATIENCE = 10


def _give_up(*_: object) -> None:
    raise TimeoutError(f"no end after {PATIENCE} s of work")


def _batch(span: tuple[int, int]) -> tuple[Counter[str], list[str]]:
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    signal.signal(signal.SIGVTALRM, _give_up)
    for seed in range(*span):
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)  # not the wall's: others may be at work beside us
        try:
            outcomes[check(seed, seed * 7919)] += 1
        except Exception as error:  # any failure of any kind is a finding, and the next seed is still wanted
            broken.append(f"python -m tests.simulation --seed {seed} --schedule {seed * 7919}\n{error!r}")
    return outcomes, broken


def main() -> int:
    """Parse, play, report; 1 when a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs (three per topology)")
    parser.add_argument("--seed", type=int, help="replay one topology")
    parser.add_argument("--schedule", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    args = parser.parse_args()
    if args.seed is not None:
        print(check(args.seed, args.schedule))
        return 0
    return _many(args.first, (args.runs + 2) // 3)


def _many(first: int, topologies: int) -> int:
    spans = [(s, min(s + 50, first + topologies)) for s in range(first, first + topologies, 50)]
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    began = time.monotonic()
    with ProcessPoolExecutor(cpu_count()) as pool:
        for done, (counted, found) in enumerate(pool.map(_batch, spans), 1):
            outcomes += counted
            broken += found
            if sys.stderr.isatty():
                print(f"\r{done}/{len(spans)} batches, {len(broken)} violations", end="", file=sys.stderr)
    seconds = time.monotonic() - began
    print("\n".join(broken[:20]))
    print(f"{3 * topologies} runs, {dict(outcomes)} topologies, {len(broken)} violations, {seconds:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
