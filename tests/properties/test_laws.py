"""Laws 1 to 6 on random topologies, random schedules, duplicates, crashes and a lost broker."""

import pytest

from tests.simulation.laws import check

BATCH = 70


@pytest.mark.parametrize("first", range(0, 10 * BATCH, BATCH))
def test_laws_1_to_6_hold_for_every_schedule(first: int) -> None:
    """2,100 simulated runs; a failure names the command that replays it."""
    for seed in range(first, first + BATCH):
        check(seed, seed * 7919)
