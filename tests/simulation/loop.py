"""An event loop in virtual time in which chance, drawn from a seed, decides what runs next.

Production code runs in it unmodified: its tasks, events, semaphores, timeouts and sleeps are asyncio's own. What is
ready is a bag, not a queue: any order that a scheduler, a network or a thread could bring about may come up, and the
same seed brings up the same. Time moves only when nothing is ready, or where the world says so.

Every callback carries the `contextvars` context of the task that made it, and by it the party (the process) it
belongs to. A party that is killed has nothing left that runs: its callbacks are dropped wherever they are.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from itertools import count
from random import Random
from traceback import clear_frames
from typing import Any, Protocol

from anabranch.branch_supervisor.app import TICK_SECONDS
from anabranch.runtime.pulse import EVERY_SECONDS

WATCH = 700.0  # whoever sleeps longer only looks whether all is well
NAPS = {TICK_SECONDS, EVERY_SECONDS}  # of those who look around from time to time: no reason for time to move
ASLEEP = getattr(asyncio.futures, "_set_result_unless_cancelled")  # noqa: B009  (what `asyncio.sleep` has called)
Call = tuple[Context, Callable[..., object], tuple[Any, ...]]


class Mortal(Protocol):
    """A process, as the loop knows it: once dead, what it still has to run goes to its `limbo`."""

    dead: bool
    limbo: list[Call]


PARTY: ContextVar[Mortal | None] = ContextVar("party", default=None)


class Timer:
    """A callback for later."""

    __slots__ = ("call", "cancelled", "when")

    def __init__(self, when: float, call: Call) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Forget it."""
        self.cancelled = True

    def ring(self) -> None:
        """Its time has come, unless it was forgotten between that and now."""
        if not self.cancelled:
            self.call[1](*self.call[2])


class SeededLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks need."""

    def __init__(self, random: Random) -> None:
        self.now = 0.0
        self.steps = self._until_beat = 0
        self._random = random.random
        self._ready: list[Call] = []
        self._alarms: list[tuple[float, int, Timer]] = []
        self._naps: list[Timer] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What was killed is missed by nobody; what failed is told by whoever waits for it."""

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        context = copy_context() if context is None else context
        party = context.get(PARTY)
        (self._ready if party is None or not party.dead else party.limbo).append((context, callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self._at(self.now + delay, callback, args, context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self._at(when, callback, args, context)

    def _at(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> Timer:
        timer = Timer(when, (copy_context() if context is None else context, callback, args))
        delay = round(when - self.now, 9)
        if callback is ASLEEP and (
            delay in NAPS or delay >= WATCH
        ):  # who waits for so long at most waits for something
            self._naps.append(timer)
        else:
            heappush(self._alarms, (when, next(self._numbers), timer))
        return timer

    def start(self, party: Mortal | None, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task of a party's own."""
        context = Context()
        context.run(PARTY.set, party)
        return self.create_task(coroutine, context=context)

    def run(self, beat: Callable[[], int]) -> None:
        """Until nothing is ready; `beat` is called between steps, and says how many there are until the next time."""
        ready, random = self._ready, self._random
        asyncio._set_running_loop(self)
        try:
            while ready:
                if self._until_beat <= 0:
                    self._until_beat = beat()
                self._until_beat -= 1
                at = int(random() * len(ready))
                context, callback, args = ready[at]
                ready[at] = ready[-1]
                ready.pop()
                self.steps += 1
                context.run(callback, *args)
        finally:
            asyncio._set_running_loop(None)

    def next_alarm(self) -> float | None:
        """The moment of the first alarm that somebody waits for."""
        alarms = self._alarms
        while alarms and (alarms[0][2].cancelled or _is_dead(alarms[0][2])):
            heappop(alarms)
        return alarms[0][0] if alarms else None

    def last_nap(self) -> float:
        """The moment at which everybody has looked around."""
        return max((nap.when for nap in self._naps), default=self.now)

    def advance(self, moment: float) -> None:
        """It is later now: what was set for until then is ready."""
        self.now = max(self.now, moment)
        while (first := self.next_alarm()) is not None and first <= self.now:
            self._wake(heappop(self._alarms)[2])
        for timer in [nap for nap in self._naps if nap.when <= self.now]:
            self._naps.remove(timer)
            self._wake(timer)

    def _wake(self, timer: Timer) -> None:
        if not timer.cancelled:
            self.call_soon(timer.ring, context=timer.call[0])

    def kill(self, party: Mortal) -> None:
        """Nothing of the party runs any more."""
        party.dead = True
        gone = [call for call in self._ready if call[0].get(PARTY) is party]
        party.limbo += gone
        self._ready[:] = [call for call in self._ready if call[0].get(PARTY) is not party]

    def bury(self, parties: Iterable[Mortal]) -> None:
        """Unwind what all of them were in the middle of, so that nothing is left for the garbage collector."""
        for party in parties:
            party.dead = False
            self._ready += party.limbo
        for task in self._tasks:
            task.cancel()
        self.run(_nothing)
        for task in self._tasks:
            _forget(task)
        self._tasks.clear()
        self._alarms.clear()
        self._naps.clear()


def _forget(task: "asyncio.Task[Any]") -> None:
    """What went wrong in it holds frames, and they hold the task."""
    error = task._make_cancelled_error() if task.cancelled() else task.exception()  # type: ignore[attr-defined]
    if error is not None:
        unwind(error)


def unwind(error: BaseException) -> None:
    """Nothing that was on the way of the error is held by it any more."""
    clear_frames(error.__traceback__)
    error.__traceback__ = error.__context__ = error.__cause__ = None


def _nothing() -> int:
    """No beat."""
    return 1


def _is_dead(timer: Timer) -> bool:
    party = timer.call[0].get(PARTY)
    return party is not None and party.dead
