"""The life of a service process: start, reconnect, drain on a signal, leave.

A service is started as often as a dependency is lost; it never repairs a connection in place. SIGTERM and
SIGINT drain: nothing more is taken, what is in hand is finished, then the process ends with 0.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog

from anabranch.runtime.health import HealthServer
from anabranch.runtime.ports import Conflict, Unavailable
from anabranch.runtime.settings import Settings
from anabranch.runtime.telemetry import configure_logging, redacted

FIRST_PATIENCE = 60.0
DRAIN_SECONDS = 30.0
log = structlog.get_logger(__name__)


class Runnable(Protocol):
    """Something that serves until it is stopped."""

    ready: asyncio.Event

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


Opened = AbstractAsyncContextManager[tuple[Runnable, Callable[[], bool]]]


class Lifecycle:
    """Keeps one service running until a signal says stop."""

    def __init__(self, name: str, opened: Callable[[], Opened], settings: Settings) -> None:
        self._name = name
        self._open = opened
        self._settings = settings
        self._stopping = asyncio.Event()
        self._healthy: Callable[[], bool] = lambda: False
        self._was_ready = False

    async def serve(self) -> int:
        """Run to the end; the process's exit code: 0 after a drain, 3 when a dependency was never reached."""
        configure_logging(self._settings.log_level, self._settings.log_format)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with contextlib.AsyncExitStack() as stack:
            if self._settings.metrics_port is not None:
                health = HealthServer(lambda: self._healthy(), port=self._settings.metrics_port)
                await stack.enter_async_context(health)
            return await self._keep_running()

    async def _keep_running(self) -> int:
        delay, given_up = 0.1, asyncio.get_running_loop().time() + FIRST_PATIENCE
        while not self._stopping.is_set():
            try:
                await self._once()
                delay = 0.1
            except (Unavailable, Conflict, ExceptionGroup) as error:
                why = redacted(str(_first(error)))
                log.warning("dependency lost, trying again", service=self._name, error=why, seconds=delay)
                if not self._was_ready and asyncio.get_running_loop().time() > given_up:
                    return 3
            finally:
                self._healthy = lambda: False
            await self._pause(delay)
            delay = min(delay * 2, 5.0)
        return 0

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _once(self) -> None:
        async with self._open() as (service, healthy):
            running = asyncio.create_task(service.run())
            stopping = asyncio.create_task(self._stopping.wait())
            readying = asyncio.create_task(self._when_ready(service, healthy))
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            readying.cancel()
            if not running.done():
                await self._drain(service, running)
            await running

    async def _when_ready(self, service: Runnable, healthy: Callable[[], bool]) -> None:
        await service.ready.wait()
        self._healthy, self._was_ready = healthy, True
        log.info("ready", service=self._name)

    async def _drain(self, service: Runnable, running: "asyncio.Task[None]") -> None:
        log.info("draining", service=self._name)
        await service.stop()
        await asyncio.wait({running}, timeout=DRAIN_SECONDS)
        if not running.done():
            log.warning("not drained in time, leaving", service=self._name)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def _first(error: BaseException) -> BaseException:
    """The cause worth saying: the first expected error of a group; what is unexpected is raised."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    expected, rest = error.split((Unavailable, Conflict))
    if rest is not None:
        raise rest
    assert expected is not None
    return _first(expected.exceptions[0])
