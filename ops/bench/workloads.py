"""What every subject is asked to do, and how it is measured; standard library only, for it runs in every interpreter.

A workload asks a subject for runs and checks each result and how often agents ran: wrong results have no figures.
"""

import asyncio
import os
import struct
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

from ops.bench import processor
from ops.bench.subjects.agent import said

Figures = dict[str, float]
CHAIN = 10
DUE = 0.05  # seconds between two one-step runs of W6
ENDS = 50  # turns at either end of W5 that are compared


class Subject(Protocol):
    """A system under test, started and ready; each call is one run, from request to result."""

    async def chain(self, first: int, steps: int) -> int:
        """`steps` steps, each adds one to what the one before said; the last value."""

    async def fork(self, width: int) -> int:
        """A hub, `width` spokes at once, each adds one to its number, and the sum of what they said."""

    async def talk(self, turns: int) -> str:
        """Two agents speak in turn, `turns` times each; the last message."""

    async def stored(self) -> int:
        """Bytes on disk."""


class Wrong(Exception):
    """A result is not what the agents make of the request."""


def scaled(size: int, scale: float, least: int = 2) -> int:
    """A size of the full benchmark, made smaller."""
    return max(least, round(size * scale))


def marks(since: int = 0) -> list[float]:
    """When agents ran, oldest first, after the first `since` of all marks."""
    data = Path(os.environ["BENCH_MARKS"]).read_bytes()[8 * since :]
    return sorted(struct.unpack(f"{len(data) // 8}d", data))


async def checked(runs: Awaitable[object], expected: object, steps: int) -> list[float]:
    """Await the runs; raises `Wrong` unless the results are right and agents ran `steps` times; their marks."""
    before = len(marks())
    same(await runs, expected)
    return counted(before, steps)


def same(found: object, expected: object) -> None:
    """Raises `Wrong` unless they are."""
    if found != expected:
        raise Wrong(f"results are {str(found)[:200]}, not {str(expected)[:200]}")


def counted(before: int, steps: int) -> list[float]:
    """The marks after the first `before`; raises `Wrong` unless they are `steps`."""
    ran = marks(before)
    if len(ran) != steps:
        raise Wrong(f"agents ran {len(ran)} times for {steps} steps")
    return ran


async def chains(subject: Subject, runs: int, steps: int = CHAIN) -> float:
    """Steps a second of concurrent chains."""
    began = time.monotonic()
    asked = asyncio.gather(*(subject.chain(100 * i, steps) for i in range(runs)))
    await checked(asked, [100 * i + steps for i in range(runs)], runs * steps)
    return runs * steps / (time.monotonic() - began)


async def forks(subject: Subject, runs: int, width: int) -> float:
    """Seconds for concurrent forks."""
    began = time.monotonic()
    asked = asyncio.gather(*(subject.fork(width) for _ in range(runs)))
    await checked(asked, [width * (width + 1) // 2] * runs, runs * (width + 2))
    return time.monotonic() - began


async def w1(subject: Subject, scale: float) -> Figures:
    """200 concurrent runs of 10 steps."""
    return {"steps_per_s": await chains(subject, scaled(200, scale))}


async def w2(subject: Subject, scale: float) -> Figures:
    """20 concurrent runs of 1 -> 50 -> 1."""
    runs, width = scaled(20, scale), scaled(50, scale)
    return {"steps_per_s": runs * (width + 2) / await forks(subject, runs, width)}


def w3(size: int) -> "Callable[[Subject, float], Awaitable[Figures]]":
    """One run of 1 -> `size` -> 1."""

    async def measure(subject: Subject, scale: float) -> Figures:
        width = scaled(size, scale)
        return {"ms_per_child": 1000 * await forks(subject, 1, width) / width}

    return measure


async def w4(subject: Subject, scale: float) -> Figures:
    """A single chain of 200 steps, nothing else going on: from one step to the next."""
    steps = scaled(200, scale, 20)
    ran = await checked(subject.chain(0, steps), steps, steps)
    return in_ms([b - a for a, b in pairwise(ran)])


def in_ms(seconds: list[float]) -> Figures:
    """The middle and the slow end."""
    return {"p50_ms": 1000 * median(seconds), "p99_ms": 1000 * quantiles(seconds, n=100, method="inclusive")[98]}


async def w5(subject: Subject, scale: float) -> Figures:
    """A conversation of 500 turns (1,000 steps): its last turns against its first, and what is kept of it."""
    turns = scaled(500, scale, 20)
    start, ends = await subject.stored(), 2 * min(ENDS, turns // 2)
    halfway = asyncio.create_task(_stored_after(subject, turns))
    growing = asyncio.create_task(_processor_growth(2 * turns, ends))
    ran = await checked(subject.talk(turns), said(2 * turns), 2 * turns)
    half, end = await halfway, await subject.stored()
    steps = [b - a for a, b in pairwise(ran)]
    return {
        "ms_per_turn": 2000 * median(steps),
        "growth": median(steps[-ends:]) / median(steps[:ends]),
        "processor_growth": await growing,
        "bytes_per_turn": (end - start) / turns,
        "bytes_growth": (end - half) / max(half - start, 1),
    }


async def _stored_after(subject: Subject, steps: int) -> int:
    """Bytes on disk when agents have run so many times more."""
    await _until(len(marks()) + steps)
    return await subject.stored()


async def _until(ran: int) -> int:
    """Wait until agents have run so often; how often they have."""
    while (found := os.stat(os.environ["BENCH_MARKS"]).st_size // 8) < ran:  # noqa: ASYNC110 - a file gives no signal
        await asyncio.sleep(0.005)
    return found


async def _processor_growth(steps: int, ends: int) -> float:
    """Processor time a step in the last `ends` of so many steps to come / in the first."""
    before, database = len(marks()), os.environ.get("BENCH_DATABASE_URL", "")
    points = [(await _until(before + one), processor.worked(database)) for one in (1, 1 + ends, steps - ends, steps)]
    first, last = ((b[1] - a[1]) / (b[0] - a[0]) if b[0] > a[0] else 0.0 for a, b in (points[:2], points[2:]))
    return last / first if first else 1.0


async def w6(subject: Subject, scale: float) -> Figures:
    """From request to result of one-step runs, while chains come in at half the rate that the subject can take."""
    span = max(1.0, 5 * scale)
    rate = await chains(subject, scaled(50, scale)) / CHAIN / 2
    load = asyncio.create_task(_regularly(lambda i: _right(subject, i, CHAIN), 1 / rate, span))
    seconds = await _regularly(lambda i: _right(subject, i, 1), DUE, span)
    await load
    return in_ms(seconds)


async def _regularly(ask: Callable[[int], Awaitable[float]], every: float, span: float) -> list[float]:
    """Ask at a fixed rate whether or not the answers come; all answers."""
    began, asked = time.monotonic(), []
    for i in range(max(2, int(span / every))):
        await asyncio.sleep(began + i * every - time.monotonic())
        asked.append(asyncio.ensure_future(ask(i)))
    return await asyncio.gather(*asked)


async def _right(subject: Subject, first: int, steps: int) -> float:
    """Seconds of one chain."""
    began = time.monotonic()
    found = await subject.chain(first, steps)
    if found != first + steps:
        raise Wrong(f"{steps} steps from {first} gave {found}")
    return time.monotonic() - began


async def w7(subject: Subject, scale: float) -> Figures:
    """What was recorded is folded again, and the tables are written anew."""
    await chains(subject, scaled(200, scale))
    figures: Figures = await subject.replay()  # type: ignore[attr-defined]  # asked only of subjects that have it
    return figures


async def w8(subject: Subject, scale: float) -> Figures:
    """10,000 runs wait for a person."""
    figures: Figures = await subject.waiting(scaled(10_000, scale))  # type: ignore[attr-defined]  # see w7
    return figures


async def w9(subject: Subject, scale: float) -> Figures:
    """From request to result of one-step runs one after the other: alone, then beside a run of 1 -> 10,000 -> 1."""
    width, before = scaled(10_000, scale), len(marks())
    alone = [await _right(subject, i, 1) for i in range(scaled(100, scale, 20))]
    big, beside = asyncio.ensure_future(subject.fork(width)), list[float]()
    while not big.done():
        beside.append(await _right(subject, len(beside), 1))
    same(await big, width * (width + 1) // 2)
    counted(before, len(alone) + len(beside) + width + 2)
    idle, busy = p95(alone), p95(beside)
    return {"idle_ms": 1000 * idle, "beside_ms": 1000 * busy, "unfairness": busy / idle, "runs_beside": len(beside)}


def p95(seconds: list[float]) -> float:
    """Of few as well: the one that no more than a twentieth are slower than."""
    return sorted(seconds)[-(len(seconds) // 20) - 1]


LONGER = {"W8": 10.0}  # so many times the patience
WORKLOADS: dict[str, Callable[[Subject, float], Awaitable[Figures]]] = {
    "W1": w1,
    "W2": w2,
    "W3a": w3(100),
    "W3b": w3(1_000),
    "W3c": w3(10_000),
    "W4": w4,
    "W5": w5,
    "W6": w6,
    "W7": w7,
    "W8": w8,
    "W9": w9,
}
