"""A snapshot is the state: frozen anywhere in a run, thawed and gone on with, it ends the same."""

import pytest

from anabranch.domain.evolve import fold
from anabranch.domain.projections import forget_touches
from anabranch.runtime.cache import freeze, thaw
from tests.simulation.laws import recorded
from tests.simulation.world import World


@pytest.mark.parametrize("seed", range(25))
def test_a_thawed_state_goes_on_like_the_one_that_was_frozen(seed: int) -> None:
    events = recorded(World(seed, seed, faulty=False).play())
    whole = fold(events)
    assert whole is not None
    forget_touches(whole)
    for cut in range(1, len(events), max(1, len(events) // 12)):
        state = fold(events[:cut])
        assert state is not None
        forget_touches(state)
        again = fold(events[cut:], thaw(freeze(state)))
        assert again is not None
        forget_touches(again)
        assert again == whole
