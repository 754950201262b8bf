"""Timers and the clocks that stop: all durable, because they are folded from events.

A timer is a moment under a key; the supervisor is woken when it has come. A clock counts seconds down and can be
stopped (nobody's time runs while only people are waited for, or the run is paused); while it goes it is a timer.
"""

from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from anabranch.domain.state import Clock, RunState

RUN_TIMER = "run"
SLACK = 64
LONGEST = timedelta(days=36_500)


def fork_timer(fork_id: str) -> str:
    """Key of a fork's timer."""
    return f"fork/{fork_id}"


def ask_timer(request_id: str) -> str:
    """Key of a user request's timer."""
    return f"ask/{request_id}"


def retry_timer(branch_id: str) -> str:
    """Key of the timer of a branch whose step is asked again later."""
    return f"retry/{branch_id}"


def after(moment: datetime, seconds: float) -> datetime:
    """So many seconds later; nobody waits longer than a hundred years, and no calendar holds every number."""
    return moment + timedelta(seconds=min(seconds, LONGEST.total_seconds()))


def set_timer(s: RunState, key: str, due: str) -> None:
    """Something is due at a moment (ISO 8601, UTC)."""
    s.timers[key] = due
    heappush(s.alarms, (due, key))
    s.touched_timers[key] = None if s.paused else due
    _trim(s)


def clear_timer(s: RunState, key: str) -> None:
    """It is due no longer."""
    if s.timers.pop(key, None) is not None:
        s.touched_timers[key] = None
        _trim(s)


def _trim(s: RunState) -> None:
    """The heap's top is always a timer that holds, and stale entries never outnumber the others by much."""
    while s.alarms and s.timers.get(s.alarms[0][1]) != s.alarms[0][0]:
        heappop(s.alarms)
    if len(s.alarms) > 2 * len(s.timers) + SLACK:
        s.alarms = [(due, key) for key, due in s.timers.items()]
        heapify(s.alarms)


def show_timers(s: RunState) -> None:
    """Whether anybody is to be woken changed: nobody while the run is paused."""
    for key, due in s.timers.items():
        s.touched_timers[key] = None if s.paused else due


def due_timer(s: RunState, now: datetime) -> str | None:
    """Key of the first timer that is due; UTC in ISO 8601 sorts as text."""
    if not s.alarms or datetime.fromisoformat(s.alarms[0][0]) > now:
        return None
    return s.alarms[0][1]


def sync(s: RunState, key: str, clock: Clock, goes: bool) -> None:
    """Start or stop a clock at the time of the event in hand."""
    if goes and clock.since is None:
        clock.since = s.at
        set_timer(s, key, after(datetime.fromisoformat(s.at), clock.remaining).isoformat())
    elif not goes and clock.since is not None:
        spent = datetime.fromisoformat(s.at) - datetime.fromisoformat(clock.since)
        clock.remaining, clock.since = max(0.0, clock.remaining - spent.total_seconds()), None
        clear_timer(s, key)
