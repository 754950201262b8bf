"""`make chaos`: runs of every kind, asked for steadily, while a random victim of five is killed every 5 to 15 s.

    python -m tests.faults.chaos --minutes 20 --runs 10000 --seed 1 --out /tmp/chaos

A broker and a database of its own, two routers, two supervisors, three workers. Whom it kills, when, and for how
long it leaves them dead comes from the seed. Ends with an audit and a table; exit 1 when a bar is broken. In the
folder it leaves `kills.jsonl`, `diary.jsonl` (what the agents wrote down), `summary.json` and every log.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from uuid import UUID

from anabranch.runtime.ids import uuid7
from tests.faults.asking import answer_questions, persistent, rows
from tests.faults.measure import Kill, judged, measured, table
from tests.faults.town import Town, town
from tests.faults.workload import KINDS, Kind

VICTIMS = ("router", "supervisor", "worker", "broker", "database")
COUNTS = {"router": 2, "supervisor": 2, "worker": 3}
BETWEEN, DEAD = (5.0, 15.0), (0.2, 3.0)
PACE = 0.25
LATE = 120.0
PROGRESS = """SELECT count(*) AS asked, count(*) FILTER (WHERE finished_at IS NOT NULL) AS over FROM anabranch.runs"""


@dataclass(frozen=True)
class Plan:
    """What was asked for on the command line."""

    minutes: float
    runs: int
    seed: int
    out: Path
    victims: tuple[str, ...] = VICTIMS
    between: tuple[float, float] = BETWEEN


class Chaos:
    """One long night."""

    def __init__(self, plan: Plan, place: Town) -> None:
        self._plan = plan
        self._place = place
        self._random = Random(plan.seed)
        self._asked: dict[UUID, Kind] = {}
        self.kills: list[Kill] = []
        self.ended: list[str] = []
        self._enough = asyncio.Event()

    async def run(self) -> dict[UUID, Kind]:
        """Ask, kill and answer at once until all runs are asked for; then wait for the last of them."""
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask())
            killing = group.create_task(self._kill())
            others = [group.create_task(self._answer()), group.create_task(self._tell())]
            await asking
            self._enough.set()
            await killing
            await self._wait()
            self._look_for_the_dead()
            for task in others:
                task.cancel()
        return self._asked

    async def _ask(self) -> None:
        """Runs at an even pace; what the outage of the broker holds up is made good after it."""
        began, span = time.monotonic(), self._plan.minutes * 60
        async with persistent(self._place.broker.url + "/") as asking:
            while len(self._asked) < self._plan.runs:
                due = min(self._plan.runs, int(self._plan.runs * (time.monotonic() - began + PACE) / span))
                batch = {uuid7(): KINDS[i % len(KINDS)] for i in range(len(self._asked), due)}
                if batch:
                    await asking.request(batch)
                    self._asked |= batch
                await asyncio.sleep(PACE)

    async def _kill(self) -> None:
        while not self._enough.is_set():
            self._look_for_the_dead()
            next_at = time.monotonic() + self._random.uniform(*self._plan.between)
            victim, dead = self._random.choice(self._plan.victims), self._random.uniform(*DEAD)
            number = self._random.randrange(COUNTS.get(victim, 1))
            kill = await asyncio.to_thread(self._kill_one, victim, number, dead)
            self.kills.append(kill)
            with (self._plan.out / "kills.jsonl").open("a") as record:
                record.write(json.dumps(asdict(kill)) + "\n")
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    def _look_for_the_dead(self) -> None:
        """Nobody is dead between two kills who did not end by himself."""
        for one in self._place.everybody:
            if one.process is not None and one.process.poll() is not None:
                self.ended.append(f"{one.module}: {one.process.returncode}")
                one.start()

    def _kill_one(self, victim: str, number: int, dead: float) -> Kill:
        start: Callable[[], object]
        if victim in COUNTS:
            process = self._place.services[victim][number].process
            kill, start = process.kill, process.start
            pid = process.process.pid if process.process else 0
        else:
            server = self._place.broker if victim == "broker" else self._place.database
            kill, start, pid = server.kill, server.start, 0
        at = time.time()
        kill()
        time.sleep(dead)
        start()
        return Kill(victim, number, pid, at, time.time())

    async def _answer(self) -> None:
        """The people."""
        async with persistent(self._place.broker.url + "/") as asking:
            while True:
                await answer_questions(self._place.database.url, asking)
                await asyncio.sleep(1)

    async def _wait(self) -> None:
        """Until all is over, or nothing has come to an end for long."""
        last, since = -1, time.monotonic()
        while last < len(self._asked) and time.monotonic() < since + LATE:
            now = (await rows(self._place.database.url, PROGRESS))[0]["over"]
            if now != last:
                last, since = now, time.monotonic()
            await asyncio.sleep(0.5)

    async def _tell(self) -> None:
        """How far it has come, on one line of a terminal, or a line every half minute."""
        live, began = sys.stderr.isatty(), time.monotonic()
        while True:
            seen = (await rows(self._place.database.url, PROGRESS))[0]
            ended = [p.module for p in self._place.everybody if p.process and p.process.poll() is not None]
            line = (
                f"{time.monotonic() - began:6.0f} s  asked {len(self._asked)}  accepted {seen['asked']}  "
                f"over {seen['over']}  kills {len(self.kills)}  dead now {len(ended)}"
            )
            print(line, file=sys.stderr, end="\r" if live else "\n", flush=True)
            await asyncio.sleep(1 if live else 30)


async def _night(plan: Plan, place: Town) -> dict[str, object]:
    night = Chaos(plan, place)
    asked = await night.run()
    return await measured(place.database.url, asked, night.kills, plan.out / "diary.jsonl") | {"ended": night.ended}


def main() -> int:
    """Run it; 1 when a bar is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS, help="whom to kill")
    parser.add_argument("--between", type=float, nargs=2, default=BETWEEN, help="seconds from kill to kill")
    parser.add_argument("--out", type=Path, help="folder for records and logs (default: a new one)")
    given = parser.parse_args()
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # our own clients lose their broker all the time
    out = given.out or Path(tempfile.mkdtemp(prefix="anabranch-chaos-"))
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*.jsonl"), *out.glob("*.log")):
        old.unlink()
    plan = Plan(given.minutes, given.runs, given.seed, out, tuple(given.victims), tuple(given.between))
    with town(out, COUNTS, linked=False, more={"FAULTS_DIARY": str(out / "diary.jsonl")}) as place:
        summary = asyncio.run(_night(plan, place))
    broken = judged(summary)
    whole = {
        "minutes": plan.minutes,
        "runs": plan.runs,
        "seed": plan.seed,
        "between": plan.between,
        **summary,
        "broken": broken,
    }
    (out / "summary.json").write_text(json.dumps(whole, indent=2) + "\n")
    print(table(whole), f"records: {out}", sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
