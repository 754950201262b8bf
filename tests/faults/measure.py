"""What a night of chaos came to: outcomes, recoveries, repeated work, and which bars it broke."""

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from tests.audit import faults_of
from tests.faults.asking import rows
from tests.faults.workload import Kind

JSON = Any
Step = tuple[str, str, int]
SERVERS = ("broker", "database")
MOST_RECOVERY, MOST_REOFFER = 5.0, 2.0
MOMENTS = "SELECT extract(epoch FROM recorded_at)::float8 AS at FROM anabranch.events ORDER BY recorded_at"
OUTCOMES = "SELECT run_id, status, result::text AS result, total_steps, total_duration FROM anabranch.runs"
ACCEPTED = """
    SELECT run_id, data ->> 'step_id' AS step, (data ->> 'attempt')::int AS attempt,
        extract(epoch FROM recorded_at)::float8 AS at
    FROM anabranch.events WHERE type IN ('StepCompleted', 'StepFailed')"""
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
    step: Step


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


def handed_on(
    kills: Sequence[Kill], invocations: Sequence[Invocation], accepted: Mapping[Step, float]
) -> dict[Invocation, float]:
    """Of the attempts that killed workers had in hand, the next invocation, and when the worker died.

    In hand: begun, and no result accepted yet.
    """
    of_step: dict[Step, list[Invocation]] = defaultdict(list)
    for one in invocations:
        of_step[one.step].append(one)
    dead = {kill.pid: kill.at for kill in kills if kill.victim == "worker"}
    found = {}
    for step, several in of_step.items():
        for first, second in pairwise(several):
            death = dead.get(first.pid, inf)
            if first.at <= death <= second.at and death < accepted.get(step, inf):
                found[second] = death
    return found


def repeats(
    kills: Sequence[Kill], invocations: Sequence[Invocation], from_the_dead: Collection[Invocation]
) -> Counter[str]:
    """Invocations of an attempt that had been invoked before: a killed worker's, or by who else was killed last.

    A worker's death repeats nothing of what others had begun.
    """
    seen: set[Step] = set()
    found: Counter[str] = Counter()
    others = [kill for kill in kills if kill.victim != "worker"]
    starts = [kill.at for kill in others]
    for one in invocations:
        if one in from_the_dead:
            found["worker"] += 1
        elif one.step in seen:
            before = bisect_left(starts, one.at)
            found[others[before - 1].victim if before else "nobody"] += 1
        seen.add(one.step)
    return found


async def measured(url: str, asked: Mapping[UUID, Kind], kills: Sequence[Kill], path: Path) -> dict[str, JSON]:
    """All figures of the night."""
    moments = [row["at"] for row in await rows(url, MOMENTS)]
    invocations = diary(path)
    results = await rows(url, ACCEPTED)
    accepted = {(str(row["run_id"]), row["step"], row["attempt"]): row["at"] for row in results}
    from_the_dead = handed_on(kills, invocations, accepted)
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
        "reoffer": quantiles([one.at - death for one, death in from_the_dead.items()]),
        "invocations": len(invocations),
        "accepted_results": len(results),
        "discarded_results": (await rows(url, DISCARDED))[0]["n"],
        "repeated_invocations": dict(repeats(kills, invocations, from_the_dead)),
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
        "no service ends by itself": not summary["ended"],
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
