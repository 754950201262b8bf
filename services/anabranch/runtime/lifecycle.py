"""The life of a service process: start, reconnect, drain on a signal, leave.

    opening -> serving -> (a dependency is lost) -> pause -> opening ...
       |          |
       |          +-- SIGTERM, SIGINT --> draining --> exit 0
       +-- not once reached within `patience`, or refused at once --> exit 3

A service is opened anew as often as a dependency is lost; no connection is repaired in place. It is ready while
its pulse beats, and after a loss only once it has served for a moment: who opens well and fails at work (a full
disk) stays unready and comes back less and less often. What is neither a lost dependency nor a signal is a defect:
it ends the process with its traceback, and whoever runs it starts another. Exit 2 is a wrong setting.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from signal import SIGINT, SIGTERM
from typing import Any, Protocol

import structlog

from anabranch.runtime.garbage import seldom_searched
from anabranch.runtime.health import HealthServer
from anabranch.runtime.ports import Conflict, Denied, Unavailable
from anabranch.runtime.pulse import Pulse
from anabranch.runtime.redaction import redacted
from anabranch.runtime.settings import Settings, SettingsError, load
from anabranch.runtime.telemetry import configure_logging
from anabranch_contracts.errors import AnabranchError

PATIENCE_SECONDS = 60.0
DRAIN_SECONDS = 30.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
TRIAL_SECONDS = 1.0
LEAVE_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Runnable(Protocol):
    """Something that serves until it is stopped; `ready` is set once it does, and not while it may turn out to fail."""

    ready: asyncio.Event

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


Opened = AbstractAsyncContextManager[tuple[Runnable, Pulse]]


class Lifecycle:
    """Keeps one service running until a signal says stop."""

    def __init__(
        self,
        name: str,
        opened: Callable[[], Opened],
        settings: Settings,
        patience: float = PATIENCE_SECONDS,
        drain: float = DRAIN_SECONDS,
    ) -> None:
        self._name = name
        self._open = opened
        self._settings = settings
        self._patience = patience
        self._drain_seconds = drain
        self._stopping = asyncio.Event()
        self._pulse: Pulse | None = None
        self._was_ready = False
        self._trial = 0.0
        self._pause = SHORTEST_PAUSE

    async def serve(self) -> int:
        """Run to the end; the process's exit code: 0 after a drain, 3 when a dependency was never reached."""
        configure_logging(self._settings.log_level, self._settings.log_format, self._settings.redaction)
        loop = asyncio.get_running_loop()
        for number in (SIGTERM, SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            async with AsyncExitStack() as stack:
                if self._settings.metrics_port is not None:
                    server = HealthServer(self._ready, port=self._settings.metrics_port)
                    await stack.enter_async_context(server)
                return await self.keep_running()
        finally:
            for number in (SIGTERM, SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Drain and leave."""
        self._stopping.set()

    def _ready(self) -> bool:
        return self._pulse is not None and self._pulse.beating()

    async def keep_running(self) -> int:
        """Open, serve and open anew until `stop`; the exit code."""
        clock = asyncio.get_running_loop().time
        given_up = clock() + self._patience
        while not self._stopping.is_set():
            try:
                await self._once()
            except (Unavailable, Conflict, SettingsError, ExceptionGroup) as error:
                if isinstance(error, SettingsError) and not self._was_ready:
                    raise
                cause = _expected(error)
                said = {"error": redacted(str(cause)), "mend": getattr(cause, "mend", Unavailable.mend)}
                if not self._was_ready and (isinstance(cause, Denied) or clock() >= given_up):
                    log.error("given up", service=self._name, **said)
                    return 3
                log.warning("unavailable", service=self._name, **said, again_in=self._pause)
                self._trial = TRIAL_SECONDS
                await self._rest()
        log.info("stopped", service=self._name)
        return 0

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _once(self) -> None:
        """Open and serve until it ends, a dependency is lost, or a signal says drain."""
        async with AsyncExitStack() as stack:
            opening = asyncio.create_task(stack.enter_async_context(self._open()))
            if not await self._unless_stopped(opening):
                opening.cancel()
                await asyncio.wait({opening})
                return
            service, pulse = await opening
            running = asyncio.create_task(service.run())
            watching = asyncio.create_task(self._watch(service, pulse))
            try:
                if not await self._unless_stopped(running, watching):
                    await self._drain(service, running)
                elif watching.done():
                    await self._end(running)
                    await watching
                else:
                    await running
            finally:
                self._pulse = None
                watching.cancel()
                running.cancel()

    async def _unless_stopped(self, *tasks: "asyncio.Task[Any]") -> bool:
        """Whether one of the tasks came to its end before a signal did."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return any(task.done() for task in tasks)

    async def _watch(self, service: Runnable, pulse: Pulse) -> None:
        """Say that it is ready once it is, and for as long as it is; raises `Unavailable` when the pulse is gone."""
        await service.ready.wait()
        await asyncio.sleep(self._trial)
        await service.ready.wait()
        self._pulse, self._was_ready, self._pause = pulse, True, SHORTEST_PAUSE
        log.info("ready", service=self._name)
        await pulse.watch()

    async def _end(self, running: "asyncio.Task[None]") -> None:
        """Who hears that the connection was given up leaves with what it can keep; who hangs is cancelled."""
        await asyncio.wait({running}, timeout=TRIAL_SECONDS)
        running.cancel()
        await asyncio.wait({running}, timeout=LEAVE_SECONDS)
        if running.done() and not running.cancelled() and (error := running.exception()) is not None:
            _expected(error)

    async def _drain(self, service: Runnable, running: "asyncio.Task[None]") -> None:
        log.info("draining", service=self._name)
        self._pulse = None
        stopping = asyncio.create_task(service.stop())
        await asyncio.wait({running}, timeout=self._drain_seconds)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)  # a connection that is gone cannot be left properly
        if running.done():
            await running
            return
        log.warning("not drained in time, what is in hand is left to others", service=self._name)
        running.cancel()
        await asyncio.wait({running}, timeout=LEAVE_SECONDS)


def _expected(error: BaseException) -> BaseException:
    """The cause worth saying: the first expected error of a group; what is unexpected is raised."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    expected, rest = error.split((Unavailable, Conflict))
    if rest is not None:
        raise rest
    assert expected is not None
    return _expected(expected.exceptions[0])


def main(serve: Callable[[Settings], Awaitable[int]]) -> int:
    """Run a service of the environment's settings as this process; what is wrong with them is one line."""
    try:
        return asyncio.run(_served(serve))
    except AnabranchError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 2


async def _served(serve: Callable[[Settings], Awaitable[int]]) -> int:
    seldom_searched()
    return await serve(load())
