"""The life of a service: opened again when a dependency is lost, drained on a signal, given up in time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from anabranch.router.app import actor as router
from anabranch.runtime import deciding
from anabranch.runtime.lifecycle import Lifecycle, Opened, Runnable
from anabranch.runtime.memory.store import MemoryStore, MemoryUnit
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing, Unavailable
from anabranch.runtime.pulse import Pulse
from anabranch.runtime.settings import Settings
from anabranch_contracts.errors import AnabranchError


class Service:
    """Runs until stopped; `lose` ends it as a lost dependency does."""

    def __init__(self, drains: bool = True) -> None:
        self.ready = asyncio.Event()
        self.drains = drains
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self.ready.set()
        await self.ended

    async def stop(self) -> None:
        if self.drains:
            self.ended.set_result(None)

    def lose(self, error: Exception) -> None:
        self.ended.set_exception(error)


class Opening:
    """Hands out the services given, or raises the errors given, one an opening."""

    def __init__(self, *outcomes: Service | Exception) -> None:
        self.outcomes = list(outcomes)
        self.closed = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[tuple[Runnable, Pulse]]:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome, Pulse([], lambda: True, lambda: None)
        self.closed += 1


def a_life(opening: Opening, port: int | None = None, **options: float) -> Lifecycle:
    return Lifecycle("test", opening, Settings(metrics_port=port), **options)


async def interrupted(life: Lifecycle, service: Service) -> int:
    serving = asyncio.create_task(life.serve())
    await service.ready.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    return await serving


async def test_a_signal_drains() -> None:
    service = Service()
    opening = Opening(service)
    assert await interrupted(a_life(opening), service) == 0
    assert service.ended.done()
    assert opening.closed == 1


async def test_what_does_not_drain_in_time_is_left() -> None:
    service = Service(drains=False)
    assert await interrupted(a_life(Opening(service), drain=0.01), service) == 0
    assert service.ended.cancelled()


async def test_a_lost_dependency_opens_it_again() -> None:
    lost, grouped, last = Service(), Service(), Service()
    life = a_life(Opening(Unavailable("not yet"), lost, grouped, last))
    serving = asyncio.create_task(life.serve())
    await lost.ready.wait()
    lost.lose(Unavailable("gone"))
    await grouped.ready.wait()
    grouped.lose(ExceptionGroup("tasks", [Unavailable("gone in a group")]))
    await last.ready.wait()
    os.kill(os.getpid(), signal.SIGINT)
    assert await serving == 0


async def test_what_was_never_reached_is_given_up_with_3() -> None:
    assert await a_life(Opening(Unavailable("nobody there")), patience=0).serve() == 3


@pytest.mark.parametrize("error", [ValueError("defect"), ExceptionGroup("tasks", [ValueError("defect")])])
async def test_a_defect_ends_the_process(error: Exception) -> None:
    with pytest.raises((ValueError, ExceptionGroup)):
        await a_life(Opening(error)).serve()


async def test_a_signal_while_connecting_is_heeded() -> None:
    connecting = asyncio.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[tuple[Runnable, Pulse]]:
        connecting.set()
        await asyncio.Event().wait()
        yield Service(), Pulse([], lambda: True, lambda: None)

    serving = asyncio.create_task(Lifecycle("test", slow, Settings()).serve())
    await connecting.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 0


async def test_a_port_that_is_taken_is_said() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(AnabranchError, match=f"port {port}"):
        await a_life(Opening(), port=port).serve()
    server.close()


class Told:
    """A pulse whose end a test decides."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def beating(self) -> bool:
        return True

    async def watch(self) -> None:
        await self.gone.wait()
        raise Unavailable("silence")


def opening_with(pulse: Told, *services: Service) -> Callable[[], Opened]:
    left = list(services)

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Runnable, Any]]:
        yield left.pop(0), pulse

    return opened


async def test_a_pulse_that_is_gone_opens_it_again_even_if_the_service_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.runtime.lifecycle.TRIAL_SECONDS", 0.01)
    hanging, last = Service(), Service()
    pulse = Told()
    serving = asyncio.create_task(Lifecycle("test", opening_with(pulse, hanging, last), Settings()).serve())
    await hanging.ready.wait()
    pulse.gone.set()
    await last.ready.wait()
    assert hanging.ended.cancelled()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 0


async def test_who_opens_well_and_fails_at_work_is_never_ready_and_comes_back_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anabranch.runtime.lifecycle.TRIAL_SECONDS", 30)
    monkeypatch.setattr("anabranch.runtime.lifecycle.SHORTEST_PAUSE", 0.001)
    failing, pulse = [Service() for _ in range(4)], Told()
    life = Lifecycle("test", opening_with(pulse, *failing), Settings())
    serving = asyncio.create_task(life.serve())
    for service in failing[:3]:
        await service.ready.wait()
        service.lose(Unavailable("disk full"))
    await failing[3].ready.wait()
    assert not life._ready() and life._pause == 8 * 0.001
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 0


class Full(MemoryStore):
    """A store that takes long to find that it has no room."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def unit(self, runs: Sequence[UUID], hold: bool = True) -> AsyncIterator[MemoryUnit]:
        self.asked.set()
        await self.answer.wait()
        raise Unavailable("no room")
        yield


async def test_who_takes_long_to_fail_at_work_is_not_ready_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.runtime.lifecycle.TRIAL_SECONDS", 0.01)
    broker, stores = MemoryBroker(), [Full(), Full()]
    left, said = list(stores), []

    def opened() -> Opened:
        return deciding.opened(left.pop(0), MemoryTransport(broker), router)

    asking = MemoryTransport(broker)
    await asking.connect()
    await asking.publish([Outgoing("run.requested", b'{"task": "t"}', uuid4(), "")])
    life = Lifecycle("test", opened, Settings())
    serving = asyncio.create_task(life.serve())
    await stores[0].asked.wait()
    stores[0].answer.set()
    await stores[1].asked.wait()
    for _ in range(20):
        await asyncio.sleep(0.01)
        said.append(life._ready())
    assert not any(said)
    serving.cancel()


async def test_who_has_work_in_hand_after_a_loss_is_ready_once_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.runtime.lifecycle.TRIAL_SECONDS", 0.01)
    lost, last = Service(), Service()
    life = a_life(Opening(lost, last))
    serving = asyncio.create_task(life.serve())
    await lost.ready.wait()
    lost.lose(Unavailable("gone"))
    await last.ready.wait()
    last.ready.clear()
    await asyncio.sleep(0.1)
    assert not life._ready()
    last.ready.set()
    async with asyncio.timeout(5):
        while not life._ready():  # noqa: ASYNC110 - as whoever asks /readyz
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 0
