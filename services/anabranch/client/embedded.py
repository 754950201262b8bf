"""The whole system in this process: the services on a memory broker, over a Postgres of the user's own.

Runs that an earlier process left unfinished go on as soon as the engine is up.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from anabranch.agent_worker.app import Worker
from anabranch.agents.registry import AGENTS, Registry
from anabranch.branch_supervisor import app as supervisor
from anabranch.client import mailbox
from anabranch.client.session import Session
from anabranch.router import app as router
from anabranch.runtime.garbage import searched_less
from anabranch.runtime.ids import uuid7
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Transport
from anabranch.runtime.postgres.embedded import EmbeddedError, EmbeddedPostgres
from anabranch.runtime.postgres.engine import translated
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.redacting import redacting
from anabranch.runtime.redaction import Redaction
from anabranch.runtime.settings import Settings
from anabranch.runtime.telemetry import log_quietly


class Engine:
    """`async with Engine(settings) as session`."""

    def __init__(self, settings: Settings, agents: Registry = AGENTS) -> None:
        self._settings = settings
        self._agents = agents
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._served: set[str] = set()
        self._services: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Session:
        try:
            return await self._open()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open(self) -> Session:
        log_quietly(self._settings)
        self._stack.enter_context(searched_less())
        url = self._settings.database_url
        if url is None:
            url = await self._stack.enter_async_context(EmbeddedPostgres(self._settings.data_dir))
        await upgrade(url)
        store = PostgresStore(url)
        self._stack.push_async_callback(store.close)
        await self._stack.enter_async_context(_alone(store))
        broker = MemoryBroker()
        await store.looked(uuid7())  # so the watch misses its mark: this broker knows of nothing
        connect = partial(_connected, broker, self._settings.redaction)
        session = self._session = Session(await connect(), store.engine, connect)
        self._stack.push_async_callback(self._stop)
        self._start(router.actor(store, await connect()))
        self._start(supervisor.actor(store, await connect(), self._settings.sweep_seconds))
        await self.employ()
        await self._stack.enter_async_context(session)
        closing = asyncio.Event()
        taking = asyncio.create_task(mailbox.take(store.engine, session, closing))
        taking.add_done_callback(lambda task: _report(task, session))
        self._stack.push_async_callback(mailbox.close, store.engine, taking, closing)
        self._stack.callback(session.close)
        return session

    async def employ(self) -> None:
        """Have a worker for the agents that were registered since the last one was employed."""
        assert self._session is not None
        fresh = [name for name in self._agents.names() if name not in self._served]
        if fresh:
            self._served.update(fresh)
            transport = await self._session.another_transport()
            self._start(Worker(transport, self._agents.only(fresh), self._settings.concurrency))

    def _start(self, service: Any) -> None:
        session = self._session
        task = asyncio.create_task(service.run())
        task.add_done_callback(lambda t: _report(t, session))
        self._services.append(service)
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


@asynccontextmanager
async def _alone(store: PostgresStore) -> AsyncIterator[None]:
    """Hold the database for one engine: a second one would take up runs that the first has in hand."""
    async with translated(), store.engine.connect() as connection:
        free = (await connection.exec_driver_sql("SELECT pg_try_advisory_lock(hashtext('anabranch engine'))")).scalar()
        if not free:
            raise EmbeddedError(
                "another engine works on this database", hint="stop it, or set ANABRANCH_AMQP_URL to ask services"
            )
        await connection.commit()
        yield


def _report(task: "asyncio.Task[None]", session: Session | None) -> None:
    if not task.cancelled() and (error := task.exception()) is not None and session is not None:
        session.fail(error)


async def _connected(broker: MemoryBroker, redaction: Redaction) -> Transport:
    transport = redacting(MemoryTransport(broker), redaction)
    await transport.connect()
    return transport


@dataclass(slots=True)
class Shared:
    """The engine of an event loop and how many use it."""

    engine: Engine
    session: Session
    users: int = 0


_shared: dict[asyncio.AbstractEventLoop, Shared] = {}
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def shared_engine(settings: Settings) -> AsyncIterator[Session]:
    """The engine of this event loop: started by the first user, stopped after the last."""
    loop = asyncio.get_running_loop()
    gate = _gates.setdefault(loop, asyncio.Lock())
    async with gate:
        if loop not in _shared:
            engine = Engine(settings)
            _shared[loop] = Shared(engine, await engine.__aenter__())
        shared = _shared[loop]
        await shared.engine.employ()
        shared.users += 1
    try:
        yield shared.session
    finally:
        async with gate:
            shared.users -= 1
            if not shared.users:
                del _shared[loop]
                await shared.engine.__aexit__()
