"""How often Python looks for garbage that refers to itself: states live long and have none of it.

At Python's own 700 new objects a seventh of a service's work is to look, and a quarter of an engine's, which has three
services and their agents in one process.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SEARCHES = (20_000, 20, 20)


def seldom_searched() -> None:
    """For a process that is a service: what was imported is there to stay."""
    gc.freeze()
    gc.set_threshold(*SEARCHES)


@contextmanager
def searched_less() -> Iterator[None]:
    """For a program of somebody else's, for the duration; one that looks as seldom, or never, goes on as it does."""
    before = gc.get_threshold()
    if not 0 < before[0] < SEARCHES[0]:
        yield
        return
    gc.set_threshold(*SEARCHES)
    try:
        yield
    finally:
        if gc.get_threshold() == SEARCHES:
            gc.set_threshold(*before)
