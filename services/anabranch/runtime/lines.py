"""What waits to be handled: a line for each run, and who comes next.

A batch is quicker for each of its messages the more there are, and slower for whoever comes meanwhile. So a run that
has the service to itself may fill a batch, and one that has company (others came within `COMPANY_SECONDS`) adds a few
messages to each: ten thousand results of one run do not keep another's single one waiting.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from anabranch.runtime.reading import Inbound

BATCH = 256
COMPANY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Shares:
    """Messages of one run in a batch."""

    alone: int = 64
    in_company: int = 16


class Lines:
    """Messages in the order they came, run by run; a run in hand waits until it is `handled`."""

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares()
        self._lines: dict[UUID, deque[Inbound]] = {}
        self._in_hand: set[UUID] = set()
        self._latest: tuple[UUID | None, float] = (None, 0.0)  # who came last, and when
        self._other: tuple[UUID | None, float] = (None, 0.0)  # who came last of all others
        self._changed = asyncio.Event()
        self._closed = False

    def join(self, inbound: Iterable[Inbound]) -> None:
        """They came, after all that is here."""
        now = asyncio.get_running_loop().time()
        for one in inbound:
            self._lines.setdefault(one.run_id, deque()).append(one)
            if one.run_id != self._latest[0]:
                self._other = self._latest
            self._latest = (one.run_id, now)
        self._changed.set()

    async def batch(self) -> list[Inbound]:
        """Wait for somebody whose turn it is, and who comes with them; [] once closed."""
        while not self._closed:
            if found := self._take():
                return found
            self._changed.clear()
            await self._changed.wait()
        return []

    def _take(self) -> list[Inbound]:
        """A share of each line; whose line is not empty then stands behind the others."""
        found: list[Inbound] = []
        share = self._share()
        for run_id in [run_id for run_id in self._lines if run_id not in self._in_hand]:
            line = self._lines.pop(run_id)
            found += [line.popleft() for _ in range(min(share, len(line), BATCH - len(found)))]
            self._in_hand.add(run_id)
            if line:
                self._lines[run_id] = line
            if len(found) == BATCH:
                break
        return found

    def _share(self) -> int:
        other, at = self._other
        has_company = other is not None and asyncio.get_running_loop().time() - at < COMPANY_SECONDS
        return self._shares.in_company if has_company else self._shares.alone

    def plenty(self) -> bool:
        """Whether a full share waits in line, be its runs in hand or not: nothing is won by waiting for more."""
        share = self._share()
        found = 0
        for line in self._lines.values():
            found += min(share, len(line))
            if found >= self._shares.alone:
                return True
        return False

    @asynccontextmanager
    async def held(self, batch: Sequence[Inbound]) -> AsyncIterator[None]:
        """Their runs in hand once more, when nobody else has them."""
        runs = {one.run_id for one in batch}
        while runs & self._in_hand:
            self._changed.clear()
            await self._changed.wait()
        self._in_hand |= runs
        try:
            yield
        finally:
            self.handled(batch)

    def handled(self, batch: Iterable[Inbound]) -> None:
        """Their runs are in hand no longer."""
        self._in_hand.difference_update(one.run_id for one in batch)
        self._changed.set()

    def close(self) -> list[Inbound]:
        """Nobody is given out any more; all who were not."""
        self._closed = True
        self._changed.set()
        return [one for line in self._lines.values() for one in line]
