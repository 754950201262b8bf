"""When a handler believes the states that it keeps, without asking the log first.

Mostly nobody else writes to the runs that it has in hand. Then the fence alone tells who was first: nothing is locked
and nothing is read, an append is one round trip. Where many messages would have to be decided again it is not tried,
nor for a while after somebody else was seen.
"""

from collections.abc import Sequence

from anabranch.domain.forking import Fork
from anabranch.runtime.reading import Inbound

FEW, WARY = 8, 100


class Solitude:
    """Whether nobody else is about, as far as was seen lately."""

    def __init__(self) -> None:
        self._wary = 0

    def disturbed(self) -> None:
        """Somebody else wrote: the next batches lock what they read."""
        self._wary = WARY

    def holds(self, inbound: Sequence[Inbound]) -> bool:
        """Whether this batch may rely on it; one that copies another run's past holds that."""
        self._wary = max(0, self._wary - 1)
        few = len(inbound) <= FEW and not any(isinstance(one.message, Fork) for one in inbound)
        return few and not self._wary
