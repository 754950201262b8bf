"""Near misses: a valid value with a few of its parts changed, so that most inputs get past the first check."""

from random import Random
from typing import Any
from uuid import UUID

import orjson

JSON = Any
LONG, DEEP = "x" * 3000, 130
TEXTS = [
    "", " ", "a", "A", "User", "End", "Start", "user", "\0", "é", "名", "a#b", "*", "\u2028", LONG, "A -> B",
    "A <-> B", "->",
    "max_steps(3)", "timeout(1e999)", "max_turns(A <-> B, 2)", "retry", "skip", "abort", "last_n", "proceed", "all",
    "0", "-1", "1e400", "NaN", "null", "true", "[1]", "{}", "9" * 400, "2026-01-01T00:00:00+00:00", "2026-01-01",
    "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", str(UUID(int=7)), "branch.steps < 3", "b0", "b0#1",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 7, 100, 10_000, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.5, -0.0, 1e-9, 1e308]
OTHERS: list[JSON] = [None, True, False, [], {}, [[]], {"": None}, [None] * 50, {"a": {"b": {"c": [1, "x"]}}}]
KEYS = ["run_id", "name", "agent", "request", "kind", "type", "convergence", "timeout", "x", "", "é", "k" * 20_000]


def edge(random: Random) -> JSON:
    """A value at some edge."""
    roll = random.random()
    if roll < 0.45:
        return random.choice(TEXTS)
    if roll < 0.75:
        return random.choice(NUMBERS)
    return deep(DEEP) if roll > 0.995 else random.choice(OTHERS)


def deep(levels: int) -> JSON:
    """Lists in lists."""
    value: JSON = []
    for _ in range(levels):
        value = [value]
    return value


def mutated(random: Random, value: JSON) -> JSON:
    """The value with up to three changes, sometimes none; the original stays as it is."""
    for _ in range(random.choices((0, 1, 2, 3), (20, 45, 22, 13))[0]):
        value = _changed(random, value)
    return value


def _changed(random: Random, value: JSON) -> JSON:
    if isinstance(value, dict) and value and random.random() < 0.95:
        return _dict(random, value)
    if isinstance(value, list) and value and random.random() < 0.95:
        return _list(random, value)
    if isinstance(value, str) and random.random() < 0.5:
        return text(random, value)
    if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.5:
        return random.choice((value + 1, value - 1, -value, value * 2, value / 2, str(value)))
    return edge(random)


def _dict(random: Random, value: dict[str, JSON]) -> JSON:
    key, roll, new = random.choice(list(value)), random.random(), dict(value)
    if roll < 0.07:
        del new[key]
    elif roll < 0.14:
        new[random.choice(KEYS)] = edge(random)
    elif roll < 0.18:
        new[random.choice(list(value))] = value[key]
    else:
        new[key] = _changed(random, value[key])
    return new


def _list(random: Random, value: list[JSON]) -> JSON:
    i, roll, new = random.randrange(len(value)), random.random(), list(value)
    if roll < 0.1:
        del new[i]
    elif roll < 0.2:
        new.insert(i, value[random.randrange(len(value))])
    elif roll < 0.27:
        random.shuffle(new)
    else:
        new[i] = _changed(random, value[i])
    return new


def text(random: Random, value: str) -> str:
    """A text with a piece taken out, doubled, swapped or put in."""
    i, j = sorted((random.randint(0, len(value)), random.randint(0, len(value))))
    roll = random.random()
    if roll < 0.3:
        return value[:i] + value[j:]
    if roll < 0.5:
        return value[:j] + value[i:j] + value[j:]
    if roll < 0.7:
        return value[:i] + random.choice(TEXTS) + value[i:]
    return value[:i] + chr(random.choice((0, 9, 32, 35, 40, 41, 43, 45, 62, 92, 127, 233, 0x2028, 0x1F600))) + value[j:]


def body(random: Random, value: JSON) -> bytes:
    """The value on the wire; sometimes cut, doubled or with a few bytes changed."""
    try:
        data = orjson.dumps(value)
    except TypeError:  # a number that no JSON library of ours reads
        data = repr(value).encode(errors="replace")
    return data if random.random() < 0.93 else changed_bytes(random, data)


def as_stored(value: JSON) -> JSON:
    """As it comes from a wire or a table; what could not have come is null."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        return None


def changed_bytes(random: Random, data: bytes) -> bytes:
    """Bytes with a few changed, cut off or repeated."""
    i = random.randint(0, len(data))
    roll = random.random()
    if roll < 0.25:
        return data[:i]
    if roll < 0.5:
        return data[:i] + random.randbytes(random.randint(1, 3)) + data[i:]
    if roll < 0.75:
        return data[:i] + random.choice((b"\xff", b"\0", b"[" * 200, b"9" * 50, b"\\ud800", b'"')) + data[i + 1 :]
    return data[:i] + data[i // 2 :]
