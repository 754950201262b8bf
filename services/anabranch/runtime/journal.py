"""What a supervisor remembers of its looks over log and broker, from one connection to the next.

A recovery that was cut off goes on where it was, if the broker still has what was published: it is known by a mark of
the attempt's own. It goes on later and later, as long as it does not get ahead.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from anabranch.runtime.ports import Lookout

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass(slots=True)
class Attempt:
    """A recovery: of which log, begun at which moment of it, and the last run whose messages are published.

    `mark` None = none could be left: the broker cannot be known again.
    """

    of: Lookout
    mark: str | None
    passed: UUID | None = None

    def is_of(self, lookout: Lookout) -> bool:
        """Whether it is the same log that waits for recovery."""
        return (self.of.identity, self.of.mark) == (lookout.identity, lookout.mark)


@dataclass(slots=True)
class Journal:
    """`agreed`: the last mark that log and broker both had. `again_at`: no attempt before then."""

    agreed: Lookout | None = None
    attempt: Attempt | None = None
    again_at: datetime | None = None
    pause: timedelta = FIRST_PAUSE

    def failed(self, now: datetime, ahead: bool) -> None:
        """An attempt was cut off, though it may have got ahead."""
        self.pause = FIRST_PAUSE if ahead else min(2 * self.pause, LONGEST_PAUSE)
        self.again_at = now + self.pause

    def done(self) -> None:
        """All that was owed is published."""
        self.attempt, self.again_at, self.pause = None, None, FIRST_PAUSE
