"""How often Python looks for garbage."""

import gc
from collections.abc import Iterator

import pytest

from anabranch.runtime.garbage import SEARCHES, searched_less


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_program_is_searched_less_while_an_engine_runs_in_it() -> None:
    gc.set_threshold(700, 10, 10)
    with searched_less():
        assert gc.get_threshold() == SEARCHES
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (50_000, 10, 10), SEARCHES])
def test_one_that_looks_as_seldom_goes_on_as_it_does(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with searched_less():
        assert gc.get_threshold() == chosen
    assert gc.get_threshold() == chosen


def test_what_a_program_chose_meanwhile_stays() -> None:
    gc.set_threshold(700, 10, 10)
    with searched_less():
        gc.set_threshold(5000, 10, 10)
    assert gc.get_threshold() == (5000, 10, 10)
