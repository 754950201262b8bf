"""The agents that every subject runs: they do next to nothing, and note on `BENCH_MARKS` when they were run.

Marks are monotonic seconds, the same clock in every process of a machine; so the time of a step is measured the
same way whatever runs it, and how often agents ran is known without asking the subject.
"""

import os
import struct
import time
from functools import cache

WORDS = "what one agent says to another in a turn of a conversation, a sentence or two, not more than that"
WINDOW = 100


@cache
def _marks() -> int:
    return os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def mark() -> None:
    """A step is run now."""
    os.write(_marks(), struct.pack("d", time.monotonic()))


def step(value: int) -> int:
    """One more."""
    mark()
    return value + 1


def hub(width: int) -> list[int]:
    """What the spokes are asked."""
    mark()
    return list(range(width))


def join(values: list[int]) -> int:
    """What the spokes said, in one value."""
    mark()
    return sum(values)


def said(number: int) -> str:
    """Message `number` of a conversation; number 0 is the task."""
    return f"{number:06} {WORDS}"


def say(message: str, memory: list[str]) -> str:
    """The next message; an agent is given what was said before, up to `WINDOW` messages of it."""
    mark()
    assert len(memory) <= WINDOW
    return said(int(message[:6]) + 1)
