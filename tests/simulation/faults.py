"""Faults by chance: at which port calls, and which. A fault has a number, so that a shrinker can leave it out.

At a port call of a party: `crash` (killed there), `cut` (its connection to that dependency is lost), `doubt` (what
it asked for was done, or not, or half, and it is told that the outcome is unknown), `stall` (it stands still for
seconds, while everybody else goes on: a slow commit, a slow network), `drain` (it is asked to leave), and once in
some worlds `wipe` (the broker loses every queue) or `purge` (one queue is emptied, and nobody told). On a message's
way: `twice` (now and again much later), `late`.
"""

from collections import Counter
from collections.abc import Container
from random import Random

MOST = 25
PACES = [10**9, 150, 80, 40, 20]  # port calls between two faults, in the mean
KINDS = ["crash"] * 8 + ["cut"] * 4 + ["doubt"] * 5 + ["stall"] * 4 + ["drain"] * 2 + ["wipe", "purge"]
DOUBTFUL = ("publish", "commit")
DELIVERIES = ["twice", "twice", "late"]
Numbers = Container[int]


class Faults:
    """What goes wrong in one world; `only` = these and no others."""

    def __init__(self, random: Random, on: bool, only: Numbers | None = None) -> None:
        self.random = random
        self.only = only
        self.struck: list[int] = []
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self._pace = random.choice(PACES) if on else PACES[0]
        self._number = 0
        self.left = self._draw()
        self.left_on_way = self._draw()

    def _draw(self) -> int:
        """Port calls until the next one."""
        return 1 + int(self.random.expovariate(1 / self._pace)) if self._number < MOST else PACES[0]

    def at_call(self, role: str, call: str) -> str | None:
        """The fault that is due at this port call, if it is one of ours."""
        self.left = self._draw()
        doubted = call in DOUBTFUL and self.random.random() < 0.4
        return self._strike("doubt" if doubted else self.random.choice(KINDS), role, call)

    def on_way(self) -> str | None:
        """The fault that is due for this message."""
        self.left_on_way = self._draw()
        return self._strike(self.random.choice(DELIVERIES), "message", "on its way")

    def _strike(self, kind: str, role: str, call: str) -> str | None:
        self._number += 1
        if self.only is not None and self._number not in self.only:
            return None
        self.struck.append(self._number)
        self.seen[role, call, kind] += 1
        return kind
