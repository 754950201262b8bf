"""anabranch, the floor and its peers on the same workloads, in one sitting on one machine, interleaved.

`make bench` runs rounds; in each, every subject in turn is started in a place of its own (database, virtual host,
folder), does its workloads, and is stopped before the next one starts. The order is another one in each round.
Medians, ratios first; everything that was measured goes to `ops/bench/results/`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from signal import SIGTERM, default_int_handler, signal
from typing import IO, Any

from ops.bench import table
from ops.bench.contest import FIGURES, ONCE, OWN, PEERS, ROOT, SUBJECTS, WORKLOADS, Entry
from ops.bench.places import place, said, started
from ops.bench.workloads import LONGER
from tests import services

JSON = Any
RESULTS = ROOT / "ops/bench/results"
STARTING = 60.0  # seconds that a subject may take before its first workload, and to end


@dataclass(slots=True)
class Sitting:
    """One benchmark: what was asked and what was found."""

    args: argparse.Namespace
    database: str
    broker: str
    machine: JSON
    found: list[JSON] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    given_up: set[tuple[str, str]] = field(default_factory=set)

    def round(self, number: int) -> None:
        """Every subject once, in an order of this round's own."""
        names = [name for name in self.args.subjects if name not in self.missing]
        Random(number).shuffle(names)
        for name in names:
            asked = [w for w in self.args.workloads if SUBJECTS[name].can(w) and (name, w) not in self.given_up]
            self._visit(number, name, [w for w in asked if number == 1 or w not in ONCE])

    def _visit(self, number: int, name: str, asked: list[str]) -> None:
        """All workloads; a subject that ends early is started again for the rest, unless it twice did nothing."""
        barren = 0
        while asked and barren < 2:
            measured = 0
            for line in self._told(name, asked):
                self._note({"round": number, "subject": name, **line})
                asked = [w for w in asked if w != line["workload"]]
                measured += "figures" in line
            barren = 0 if measured else barren + 1
        for workload in asked:
            self._note({"round": number, "subject": name, "workload": workload, "failed": "not tried after these"})

    def _note(self, line: JSON) -> None:
        self.found.append(line)
        name, workload = line["subject"], line["workload"]
        figures = line.get("figures", {})
        shown = ", ".join(
            f"{table.readable(figures[f.name])} {f.label}"
            for f in FIGURES
            if f.workload == workload and f.name in figures
        )
        if "failed" in line:
            self.given_up.add((name, workload))
        print(
            f"round {line['round']}  {name:13} {workload:4} {line.get('failed') or shown}", file=sys.stderr, flush=True
        )

    def _told(self, name: str, asked: list[str]) -> Iterator[JSON]:
        """What a run of the subject tells; a workload it does not come to the end of has failed."""
        left = list(asked)
        with (
            place(self.database, self.broker, RESULTS) as environment,
            started(SUBJECTS[name], [*asked, *self._options()], environment) as (process, log),
        ):
            for text in said(process, self.args.patience * _longest(asked) + STARTING):
                line = json.loads(text)
                left.remove(line["workload"])
                yield line
                if "failed" in line:
                    return
            if left:
                yield {"workload": left[0], "failed": _last_words(log)}

    def _options(self) -> list[str]:
        return ["--scale", str(self.args.scale), "--patience", str(self.args.patience)]

    def report(self) -> JSON:
        """All of it."""
        given = {name: str(value) for name, value in vars(self.args).items()}
        return {"machine": self.machine, "args": given, "missing": self.missing, "found": self.found}


def _longest(asked: list[str]) -> float:
    return max(LONGER.get(workload, 1) for workload in asked)


def _last_words(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    return f"ended early: {lines[-1][:300] if lines else 'without a word'}"


def _commit() -> str:
    """What was measured; empty where this is no repository."""
    git = ("git", "describe", "--always", "--dirty", "--abbrev=12")
    return subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def machine(database: str) -> JSON:
    """What the figures were measured on."""
    import asyncio

    import asyncpg

    async def settings() -> dict[str, str]:
        connection = await asyncpg.connect(database)
        try:
            names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
            return {name: await connection.fetchval(f"SHOW {name}") for name in names}
        finally:
            await connection.close()

    return {
        "commit": _commit(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": asyncio.run(settings()),
    }


def missing(names: list[str]) -> dict[str, str]:
    """Subjects that are not installed, and why."""
    return {name: why for name in names if (why := _absent(SUBJECTS[name])) is not None}


def _absent(entry: Entry) -> str | None:
    if not entry.python.exists():
        return f"no {entry.python.relative_to(ROOT)}: `make bench` makes it"
    noted = entry.python.parent.parent / f"{entry.needs.partition('.')[0]}.why"
    if noted.exists():
        return noted.read_text().strip()
    trial = subprocess.run([entry.python, "-c", f"import {entry.needs}"], capture_output=True, text=True, check=False)
    return trial.stderr.strip().splitlines()[-1] if trial.returncode else None


def _chosen(known: dict[str, Any]) -> Any:
    """Names, given with commas; the beginning of some names stands for all of them."""

    def parse(text: str) -> list[str]:
        wanted = [part.strip() for part in text.split(",")]
        for one in wanted:
            if not any(name.startswith(one) for name in known):
                raise argparse.ArgumentTypeError(f"{one!r} is none of {', '.join(known)}")
        return [name for name in known if any(name == w or (w not in known and name.startswith(w)) for w in wanted)]

    return parse


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="size of every workload; 0.1 for a try")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds a workload may take; then it is given up")
    parser.add_argument("--subjects", type=_chosen(SUBJECTS), default=list(SUBJECTS), help=", ".join(SUBJECTS))
    parser.add_argument("--workloads", type=_chosen(WORKLOADS), default=list(WORKLOADS), help=", ".join(WORKLOADS))
    parser.add_argument(
        "--others", type=float, default=1.0, help="leave out of the tables what strangers had more of the cores beside"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / time.strftime("%Y%m%d-%H%M%S.json"))
    parser.add_argument("--show", type=Path, help="print and plot what was measured before, measure nothing")
    return parser.parse_args()


def measured(args: argparse.Namespace) -> JSON:
    """All rounds; what was found so far is kept whatever happens."""
    RESULTS.mkdir(exist_ok=True)
    with services.postgres() as database, services.rabbitmq() as broker:
        sitting = Sitting(args, database, broker, machine(database), missing=missing(args.subjects))
        for name, why in sitting.missing.items():
            print(f"not installed: {name}: {why}", file=sys.stderr)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            for number in range(1, args.rounds + 1):
                sitting.round(number)
        except KeyboardInterrupt:
            print("interrupted; what was measured so far:", file=sys.stderr)
        finally:
            args.out.write_text(json.dumps(sitting.report(), indent=1) + "\n")
    return sitting.report()


def main() -> int:
    """Measure, print, plot; 1 when one of ours or the floor failed a workload."""
    signal(SIGTERM, default_int_handler)  # end in order, whoever asks
    args = parsed()
    found = json.loads(args.show.read_text()) if args.show else measured(args)
    print(table.text(table.undisturbed(found, args.others)))
    kept = args.show or args.out
    command = [PEERS, "-m", "ops.bench.plot", kept, str(args.others)]
    plotted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False) if PEERS.exists() else None
    print(
        f"kept in {kept}" + (f" and {kept.with_suffix('.svg')}" if plotted and not plotted.returncode else "; no plot")
    )
    return int(any("failed" in line and SUBJECTS[line["subject"]].python == OWN for line in found["found"]))


if __name__ == "__main__":
    raise SystemExit(main())
