"""One process of the world: production's own lifecycle around production's own service, on ports with seams."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from types import coroutine
from typing import Any

from anabranch.agent_worker import service
from anabranch.agent_worker.app import Worker
from anabranch.branch_supervisor.app import SupervisorActor
from anabranch.domain.deciders import Router
from anabranch.domain.state import RunState
from anabranch.runtime import deciding
from anabranch.runtime.actor import Actor
from anabranch.runtime.handler import Handler
from anabranch.runtime.lifecycle import Lifecycle, Opened
from anabranch.runtime.memory.transport import MemoryTransport
from anabranch.runtime.ports import Delivery, Unavailable
from anabranch.runtime.recovery import recover
from anabranch.runtime.settings import Settings
from anabranch.runtime.watch import Watch
from anabranch_contracts.addresses import ROUTER_QUEUE
from tests.simulation.faults import DOUBTFUL
from tests.simulation.loop import Call, unwind
from tests.simulation.ports import Store, Transport

EVERY = 1000.0  # seconds between two looks of the watch: nothing else sleeps so long
SETTINGS = Settings.model_construct()
LONGEST_STALL = 20.0


class Life(Lifecycle):
    """Production's; an error takes nothing with it that only a search for cycles would free."""

    async def _once(self) -> None:
        try:
            await super()._once()
        except BaseException as error:
            unwind(error)
            raise


class Process:
    """A router, a supervisor, a worker, or an operator's `recover`; its clock may be wrong."""

    def __init__(self, world: Any, role: str, skew: float) -> None:
        self.world = world
        self.role = role
        self.skew = skew
        self.dead = self.watches = False
        self.limbo: list[Call] = []
        self.transports: list[Transport] = []
        self.actor: Actor | None = None
        self.lifecycle = Life(role, self._opened, SETTINGS)
        world.loop.start(self, self._live())

    async def _live(self) -> None:
        if self.role == "operator":
            await self._recover()
            return
        if self.role == "worker":
            options: Any = {"concurrency": self.world.concurrency, "name": self.role, "clock": self.clock}
            self.worker = Worker(self._transport(), self.world.cast, new_id=self.world.new_id, **options)
        await self.lifecycle.keep_running()
        self.world.kill(self)  # the process is over, and whatever it still had in hand with it

    def _transport(self) -> Transport:
        transport = Transport(self, MemoryTransport(self.world.broker))
        self.transports.append(transport)
        return transport

    def _opened(self) -> Opened:
        if self.role == "worker":
            return service.opened(self.worker, self._transport())
        return deciding.opened(Store(self, self.world.store), self._transport(), self._make)

    def _make(self, store: Any, transport: Any) -> Actor:
        if self.role == "supervisor":
            watch = Watch(store, transport, self.clock, self.world.new_id, EVERY) if self.world.watched else None
            self.actor = SupervisorActor(store, transport, self.clock, self.world.new_id, watch)
        else:
            handler = Handler(Router(), store, transport, self.clock, self.world.new_id)
            self.actor = Actor(handler, transport, [ROUTER_QUEUE])
        self.actor.shares = self.world.shares
        return self.actor

    async def _recover(self) -> None:
        """As often as it takes, like a person at a command line."""
        while True:
            try:
                store: Any = Store(self, self.world.store)
                transport: Any = self._transport()
                await transport.connect()
                await recover(store, transport, self.clock(), self.world.new_id)
                return
            except Unavailable:
                await asyncio.sleep(1)

    def clock(self) -> datetime:
        """What this process believes the time to be."""
        moment: datetime = self.world.moment(self.skew)
        return moment

    def states(self) -> list[RunState]:
        """The states it keeps."""
        return list(self.actor.handler._cache._states.values()) if self.actor is not None and not self.dead else []

    def acked(self, deliveries: Sequence[Delivery], taken: dict[Any, int]) -> None:
        """The broker will not offer these again."""
        self.world.ledger.ack(self.role, deliveries, taken, self.world.loop.steps, self.world.stored)

    def toss(self) -> bool:
        """A coin."""
        return bool(self.world.random.random() < 0.5)

    @coroutine
    def seam(self, call: str, cut: Callable[[], None]) -> Generator[Any, Any, str | None]:
        """Where others may go on and a fault may strike; "doubt" is for the caller to carry out."""
        world = self.world
        if world.ending:
            raise asyncio.CancelledError
        world.faults.left -= 1
        if world.faults.left > 0:
            if world.toss() < 0.4:
                yield
            return None
        fault = world.faults.at_call(self.role, call)
        match fault:
            case "crash":
                world.kill(self)
                yield
            case "stall":
                yield from asyncio.sleep(world.random.random() * LONGEST_STALL).__await__()
            case "drain":
                self.lifecycle.stop()
            case "wipe":
                world.wipe()
            case "purge":
                world.purge()
            case "doubt" if call in DOUBTFUL:
                return fault
            case "cut" | "doubt":
                cut()
            case _:
                pass
        return None
