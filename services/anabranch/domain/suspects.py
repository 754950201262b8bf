"""Which steps that were asked for are in nobody's hand any more, as far as the broker lets us tell.

A step is lost for certain only where its queue has nothing ready (it is not there) and nobody can hold it: no worker
takes from the queue, and the last one has had the time to leave; or whoever took it has had longer than the step may
take. An agent that runs twice costs money, so what is in doubt is not offered again.

    looks at a queue      something ready         nothing ready           nothing ready, no worker
    what is asked for     waits there: not lost   held at most `timeout`  held at most by one who leaves
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from anabranch.domain.clocks import after

LEAVING = timedelta(seconds=40)  # a worker that drains gives back what it holds sooner
GRACE = 60.0  # on the way: result and ack


@dataclass(frozen=True, slots=True)
class Seen:
    """Since when each look at a queue found nothing ready, and since when also nobody who takes from it."""

    empty: datetime | None = None
    deserted: datetime | None = None


def seen(before: Seen, ready: int, consumers: int, now: datetime) -> Seen:
    """What is known of a queue after another look at it."""
    if ready:
        return Seen()
    return Seen(before.empty or now, None if consumers else before.deserted or now)


def lost(queue: Seen, asked: datetime, timeout: float | None, now: datetime) -> bool:
    """Whether a step that was put into the queue at `asked`, and was not answered, is in nobody's hand."""
    if queue.empty is None:
        return False
    if queue.deserted is not None and asked < queue.deserted <= now - LEAVING:
        return True
    return timeout is not None and after(max(asked, queue.empty), timeout + GRACE) <= now
