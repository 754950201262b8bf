"""Feeds a target with inputs made from seeds: whatever it finds is found again by the same number.

A target draws its input from a `Random`, hands it to the decoder, checks what must hold of any input and says whether
the decoder accepted it. What it raises is a finding; so is an input that takes longer than `BUDGET` seconds of
processor time, which do not depend on who else is at work.
"""

import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from types import FrameType

BUDGET = 2.0
MOST_FINDINGS = 5
Target = Callable[[Random], bool]


class TooLong(BaseException):
    """An input kept its decoder busy beyond the budget."""


@dataclass
class Report:
    """What came of a target's inputs; `findings` are seeds with what was raised."""

    name: str
    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    slow: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """How many of the inputs were accepted."""
        return self.accepted / self.inputs if self.inputs else 0.0

    def row(self) -> str:
        """A line of the table."""
        rate = self.inputs / self.seconds if self.seconds else 0
        return (
            f"{self.name:24} {self.inputs:8,} {self.seconds:8.1f} s {rate:8,.0f}/s {self.share:7.1%} "
            f"{self.slowest * 1000:7.1f} ms {self.slow:8} {len(self.findings):4}"
        )


HEADER = f"{'target':24} {'inputs':>8} {'':10} {'':10} {'taken':>7} {'slowest':>10} {'number':>8} found"


def one(target: Target, name: str, number: int) -> bool:
    """One input, the same for the same name and number."""
    return target(Random(f"{name}/{number}"))


def run(name: str, target: Target, first: int, count: int) -> Report:
    """So many inputs from the first number on; stops early once enough was found."""
    report = Report(name)
    with suppress(Exception):  # what is made once for all inputs is not of the first one
        one(target, name, first)
    before = signal.signal(signal.SIGVTALRM, _too_long)
    began = time.process_time()
    try:
        for number in range(first, first + count):
            _try(target, number, report)
            if len(report.findings) >= MOST_FINDINGS:
                break
    finally:
        signal.signal(signal.SIGVTALRM, before)
    report.seconds = time.process_time() - began
    return report


def _try(target: Target, number: int, report: Report) -> None:
    report.inputs += 1
    began = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, BUDGET)
        report.accepted += one(target, report.name, number)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except (Exception, TooLong) as error:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        report.findings.append((number, f"{type(error).__name__}: {str(error)[:300]} {_where(error)}"))
    took = time.process_time() - began
    if took > report.slowest:
        report.slowest, report.slow = took, number
    if took > BUDGET:  # inside a library the alarm waits until it returns
        report.findings.append((number, f"took {took:.1f} s"))


def _too_long(_: int, __: FrameType | None) -> None:
    raise TooLong(f"more than {BUDGET} s")


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in reversed(frames[-4:]))
