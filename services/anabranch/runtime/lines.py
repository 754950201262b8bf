"""What waits to be handled: a line for each run, and who comes next."""

import asyncio
from collections import deque
from collections.abc import Iterable
from uuid import UUID

from anabranch.runtime.reading import Inbound


class Lines:
    """Messages in the order they came, run by run.

    A batch takes the same share of every line that it reaches, and who was given one stands behind the others then: a
    run with ten thousand results keeps nobody's single one waiting. A run in hand waits until it is `handled`.
    """

    def __init__(self) -> None:
        self._lines: dict[UUID, deque[Inbound]] = {}
        self._in_hand: set[UUID] = set()
        self._changed = asyncio.Event()
        self._closed = False

    def join(self, inbound: Iterable[Inbound]) -> None:
        """They came, after all that is here."""
        for one in inbound:
            self._lines.setdefault(one.run_id, deque()).append(one)
        self._changed.set()

    async def batch(self, limit: int, share: int) -> list[Inbound]:
        """Wait for somebody whose turn it is; [] once closed."""
        while not self._closed:
            if found := self._take(limit, share):
                return found
            self._changed.clear()
            await self._changed.wait()
        return []

    def _take(self, limit: int, share: int) -> list[Inbound]:
        found: list[Inbound] = []
        for run_id in [run_id for run_id in self._lines if run_id not in self._in_hand]:
            line = self._lines.pop(run_id)
            found += [line.popleft() for _ in range(min(share, len(line), limit - len(found)))]
            self._in_hand.add(run_id)
            if line:
                self._lines[run_id] = line
            if len(found) == limit:
                break
        return found

    def handled(self, batch: Iterable[Inbound]) -> None:
        """Their runs are in hand no longer."""
        self._in_hand.difference_update(one.run_id for one in batch)
        self._changed.set()

    def close(self) -> list[Inbound]:
        """Nobody is given out any more; all who were not."""
        self._closed = True
        self._changed.set()
        return [one for line in self._lines.values() for one in line]
