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
