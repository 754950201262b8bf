"""The whole system in this process: the services on a memory broker, over a Postgres of the user's own.

Runs that an earlier process left unfinished go on as soon as the engine is up.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from anabranch.agent_worker.app import Worker
from anabranch.agents.registry import AGENTS, Registry
from anabranch.branch_supervisor import app as supervisor
from anabranch.client import mailbox
from anabranch.client.session import Session
from anabranch.router import app as router
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.postgres.embedded import EmbeddedPostgres
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.recovery import recover
from anabranch.runtime.settings import Settings
from anabranch.runtime.telemetry import configure_logging


class Engine:
    """`async with Engine(settings) as session`."""

    def __init__(self, settings: Settings, agents: Registry = AGENTS) -> None:
        self._settings = settings
        self._agents = agents
        self._stack = AsyncExitStack()
        self._services: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Session:
        try:
            return await self._open()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open(self) -> Session:
        if not structlog.is_configured():
            chosen = "log_level" in self._settings.model_fields_set  # inside somebody's program: quiet unless asked
            configure_logging(self._settings.log_level if chosen else "warning", self._settings.log_format)
        url = self._settings.database_url
        if url is None:
            url = await self._stack.enter_async_context(EmbeddedPostgres(self._settings.data_dir))
        await upgrade(url)
        store = PostgresStore(url)
        self._stack.push_async_callback(store.close)
        broker = MemoryBroker()
        self._services = [
            router.actor(store, await _connected(broker)),
            supervisor.actor(store, await _connected(broker)),
            Worker(await _connected(broker), self._agents, self._settings.concurrency),
        ]
        session = Session(await _connected(broker), store.engine, lambda: _connected(broker))
        self._stack.push_async_callback(self._stop)
        self._start(session)
        await recover(store, await _connected(broker))
        await self._stack.enter_async_context(session)
        closing = asyncio.Event()
        taking = asyncio.create_task(mailbox.take(store.engine, session, closing))
        taking.add_done_callback(lambda task: _report(task, session))
        self._stack.push_async_callback(mailbox.close, store.engine, taking, closing)
        self._stack.callback(session.close)
        return session

    def _start(self, session: Session) -> None:
        for service in self._services:
            task = asyncio.create_task(service.run())
            task.add_done_callback(lambda t: _report(t, session))
            self._tasks.append(task)

    async def _stop(self) -> None:
        for service in self._services:
            await service.stop()
        await asyncio.wait(self._tasks, timeout=30)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def _report(task: "asyncio.Task[None]", session: Session) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        session.fail(error)


async def _connected(broker: MemoryBroker) -> MemoryTransport:
    transport = MemoryTransport(broker)
    await transport.connect()
    return transport


_shared: dict[asyncio.AbstractEventLoop, tuple[Session, AsyncExitStack, int]] = {}
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def shared_engine(settings: Settings) -> AsyncIterator[Session]:
    """The engine of this event loop: started by the first user, stopped after the last."""
    loop = asyncio.get_running_loop()
    gate = _gates.setdefault(loop, asyncio.Lock())
    async with gate:
        if loop not in _shared:
            stack = AsyncExitStack()
            _shared[loop] = (await stack.enter_async_context(Engine(settings)), stack, 0)
        session, stack, users = _shared[loop]
        _shared[loop] = (session, stack, users + 1)
    try:
        yield session
    finally:
        async with gate:
            session, stack, users = _shared[loop]
            _shared[loop] = (session, stack, users - 1)
            if users == 1:
                del _shared[loop]
                await stack.aclose()
