"""Laws 1 to 6 on random topologies, random schedules, with everything going wrong that may."""

import pytest

from tests.simulation.laws import check
from tests.simulation.world import World

BATCH = 42


@pytest.mark.parametrize("first", range(0, 10 * BATCH, BATCH))
def test_laws_1_to_6_hold_for_every_schedule(first: int) -> None:
    """About 3,600 simulated runs; a failure names the command that replays it."""
    for seed in range(first, first + BATCH):
        check(seed, seed * 7919)


def test_a_seed_plays_the_same_twice() -> None:
    """What was found can be looked at again."""
    for seed in range(20):
        one, two = (World(seed, seed).play() for _ in range(2))
        assert one.store.log == two.store.log
        assert (one.loop.steps, one.faults.seen) == (two.loop.steps, two.faults.seen)
