"""Things are told apart by their content, in this process and every other."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from anabranch_contracts.fingerprints import fingerprint


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held

    def method(self) -> Any:
        return self.held


def closing(held: Any) -> Any:
    return lambda: held


def itself() -> Any:
    thing = Holder(None)
    thing.held = thing
    return thing


MAKE = {
    "method": lambda held: Holder(held).method,
    "object": Holder,
    "closure": closing,
    "partial": lambda held: partial(closing, held),
    "of an object": lambda held: closing(Holder({"deep": [held]})),
    "set": lambda held: {held, "more"},
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_what_holds_the_same_is_the_same_and_what_holds_another_is_not(make: Any) -> None:
    assert fingerprint(make("a")) == fingerprint(make("a")) != fingerprint(make("b"))


def test_it_is_the_same_in_every_process() -> None:
    script = (
        "from tests.unit.contracts.test_fingerprints import MAKE, fingerprint;"
        "print([fingerprint(make(held)) for make in MAKE.values() for held in ('a', 'b')])"
    )
    environments = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2", "3")]
    assert len({subprocess.check_output([sys.executable, "-c", script], env=e) for e in environments}) == 1


def test_what_holds_itself_or_nothing_yet_has_one_too() -> None:
    def early() -> Any:
        return late

    assert fingerprint(itself()) == fingerprint(itself()) and fingerprint(early)
    late = 1


class Keeper(Holder):
    """Another class of the same parts."""


class Slotted:
    __slots__ = ("held",)


def with_more_keywords(*, most: int = 1) -> int:
    return most


def with_another(*, most: int = 2) -> int:
    return most


def nested(depth: int, inside: Any) -> Any:
    for _ in range(depth):
        inside = [inside]
    return inside


def tupled(depth: int, inside: Any) -> Any:
    for _ in range(depth):
        inside = (inside,)
    return inside


DIFFERENT: list[tuple[Any, Any]] = [
    (1, "1"),
    (int, float),
    (Holder, Slotted),
    (["a", "b"], ["b", "a"]),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    (with_more_keywords, with_another),
    (lambda: 1, lambda: 2),
    (lambda a: a.b, lambda a: a.c),
    (lambda a, b=1: a + b, lambda a, b=2: a + b),
    (partial(closing, "a"), partial(itself, "a")),
    (partial(closing, held="a"), partial(closing, held="b")),
    (Holder(1).method, Holder(2).method),
    (range(2), range(3)),
    (nested(7, "a"), nested(7, "b")),
    (nested(8, Holder("a")), nested(8, Slotted())),
    ({tupled(7, "a"): 1}, {tupled(7, "b"): 1}),
    ({tupled(7, "a")}, {tupled(7, "b")}),
    (Holder(1), Keeper(1)),
    (Holder(Holder(1)), Holder(Holder(2))),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_what_differs_in_any_part_is_told_apart(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other) and len(fingerprint(one)) == 12
    assert fingerprint(one, other) != fingerprint(other, one)


SAME: list[tuple[Any, Any]] = [
    ([1, 2], (1, 2)),
    ({1, 2}, frozenset([2, 1])),
    (Slotted(), Slotted()),
    (nested(9, "a"), nested(9, "b")),
    ({tupled(8, "a"): 1}, {tupled(8, "b"): 1}),
    ({tupled(8, "a")}, {tupled(8, "b")}),
    (object(), object()),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=range(len(SAME)))
def test_what_differs_only_in_its_address_or_deeper_than_anybody_looks_is_not(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)
