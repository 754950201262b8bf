"""What a night of chaos came to: outcomes, recoveries, repeated work, and which bars it broke."""

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from tests.audit import faults_of
from tests.faults.asking import rows
from tests.faults.workload import Kind

JSON = Any
SERVERS = ("broker", "database")
MOST_RECOVERY, MOST_REOFFER = 5.0, 2.0
MOMENTS = "SELECT extract(epoch FROM recorded_at)::float8 AS at FROM anabranch.events ORDER BY recorded_at"
OUTCOMES = "SELECT run_id, status, result::text AS result, total_steps, total_duration FROM anabranch.runs"
ACCEPTED = "SELECT count(*) AS n FROM anabranch.events WHERE type IN ('StepCompleted', 'StepFailed')"
DISCARDED = "SELECT count(*) AS n FROM anabranch.events WHERE type = 'StepResultDiscarded'"


@dataclass(frozen=True)
class Kill:
    """One victim: when it was killed, and when it was there again (a service: when it was started again)."""

    victim: str
    number: int
    pid: int
    at: float
    back: float


@dataclass(frozen=True)
class Invocation:
    """An agent began an attempt of a step."""

    at: float
    pid: int
    step: tuple[str, str, int]


def diary(path: Path) -> list[Invocation]:
    """What the agents wrote down; a line cut off by a kill is no invocation."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found.append(Invocation(entry["at"], entry["pid"], tuple(entry["step"])))
    return sorted(found, key=lambda one: one.at)


def quantiles(values: Sequence[float]) -> JSON:
    """Median, 99th percentile and worst, in seconds."""
    if not values:
        return {"count": 0}
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {"count": len(ordered), "p50": at(0.5), "p99": at(0.99), "max": round(ordered[-1], 3)}


def recoveries(kills: Sequence[Kill], moments: Sequence[float]) -> dict[str, list[float]]:
    """Per kind of victim: from when it was back until the next accepted event.

    Where a server is killed again before there is one, the outage goes on until that is back.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for kill, following in zip_longest(kills, kills[1:]):
        after = bisect_right(moments, kill.back)
        again = following is not None and following.victim in SERVERS and after < len(moments)
        if after < len(moments) and not (again and following.at < moments[after]):
            found[kill.victim].append(moments[after] - kill.back)
    return found


def reoffers(kills: Sequence[Kill], invocations: Sequence[Invocation]) -> list[float]:
    """From the death of a worker until the step it had in hand began elsewhere."""
    of_step: dict[tuple[str, str, int], list[Invocation]] = defaultdict(list)
    for one in invocations:
        of_step[one.step].append(one)
    dead = {kill.pid: kill.at for kill in kills if kill.victim == "worker"}
    found = []
    for several in of_step.values():
        for first, second in pairwise(several):
            if first.pid in dead and first.at <= dead[first.pid] <= second.at:
                found.append(second.at - dead[first.pid])
    return found


def repeats(kills: Sequence[Kill], invocations: Sequence[Invocation]) -> Counter[str]:
    """Invocations of an attempt that had been invoked before, by the victim that was killed last before."""
    seen: set[tuple[str, str, int]] = set()
    found: Counter[str] = Counter()
    starts = [kill.at for kill in kills]
    for one in invocations:
        if one.step in seen:
            before = bisect_left(starts, one.at)
            found[kills[before - 1].victim if before else "nobody"] += 1
        seen.add(one.step)
    return found


async def measured(url: str, asked: Mapping[UUID, Kind], kills: Sequence[Kill], path: Path) -> dict[str, JSON]:
    """All figures of the night."""
    moments = [row["at"] for row in await rows(url, MOMENTS)]
    invocations = diary(path)
    per_victim = recoveries(kills, moments)
    killed = Counter(kill.victim for kill in kills)
    return {
        **await _outcomes(url, asked),
        "faults": await faults_of(url),
        "kills": dict(killed),
        "recovery": {
            "all": quantiles([s for several in per_victim.values() for s in several]),
            **{victim: quantiles(several) for victim, several in sorted(per_victim.items())},
        },
        "reoffer": quantiles(reoffers(kills, invocations)),
        "invocations": len(invocations),
        "accepted_results": (await rows(url, ACCEPTED))[0]["n"],
        "discarded_results": (await rows(url, DISCARDED))[0]["n"],
        "repeated_invocations": dict(repeats(kills, invocations)),
        "longest_silence": round(max((b - a for a, b in pairwise(moments)), default=0.0), 3),
    }


async def _outcomes(url: str, asked: Mapping[UUID, Kind]) -> dict[str, JSON]:
    seen = {row["run_id"]: row for row in await rows(url, OUTCOMES)}
    over = [i for i in asked if i in seen and seen[i]["total_duration"] is not None]
    wrong = [str(i) for i in over if not _as_expected(seen[i], asked[i])]
    return {
        "asked": len(asked),
        "outcomes": len(over),
        "lost": sum(i not in seen for i in asked),
        "stuck": sum(i in seen for i in asked) - len(over),
        "unexpected": wrong[:20],
        "run_seconds": quantiles([seen[i]["total_duration"] for i in over]),
    }


def _as_expected(row: JSON, kind: Kind) -> bool:
    result = orjson.loads(row["result"] or "null")
    return bool(row["status"] == "completed" and result == kind.result and row["total_steps"] == kind.steps)


def judged(summary: Mapping[str, JSON]) -> list[str]:
    """The bars that do not hold."""
    bars = {
        "every run has an outcome": summary["outcomes"] == summary["asked"],
        "nothing lost, nothing stuck": summary["lost"] == summary["stuck"] == 0,
        "every outcome is the expected one": not summary["unexpected"],
        "the audit finds nothing": not summary["faults"],
        f"recovery p99 <= {MOST_RECOVERY:g} s": summary["recovery"]["all"].get("p99", 0) <= MOST_RECOVERY,
        f"a killed worker's step is offered again in <= {MOST_REOFFER:g} s": summary["reoffer"].get("max", 0)
        <= MOST_REOFFER,
        "at most one invocation is repeated for each killed worker": summary["repeated_invocations"].get("worker", 0)
        <= summary["kills"].get("worker", 0),
    }
    return [bar for bar, holds in bars.items() if not holds]


def table(summary: Mapping[str, JSON]) -> str:
    """The figures for reading."""
    lines = [f"{name:24}{json.dumps(value)}" for name, value in summary.items() if name not in ("recovery", "broken")]
    lines += [f"recovery {victim:15}{json.dumps(figures)}" for victim, figures in summary["recovery"].items()]
    return "\n".join([*lines, f"{'broken':24}{'; '.join(summary['broken']) or 'no bar'}"])
