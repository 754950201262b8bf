"""Wire the supervisor: its decider, its queue, the clock that wakes it for due timers, and the watch."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from uuid import UUID

from anabranch.domain.deciders import Supervisor
from anabranch.runtime import deciding
from anabranch.runtime.actor import Actor
from anabranch.runtime.handler import Handler, utcnow
from anabranch.runtime.ids import uuid7
from anabranch.runtime.journal import Journal
from anabranch.runtime.ports import Store, Transport
from anabranch.runtime.rabbitmq.parties import SUPERVISOR
from anabranch.runtime.recovery import Alarms
from anabranch.runtime.settings import Settings
from anabranch.runtime.watch import EVERY_SECONDS, Watch
from anabranch_contracts.addresses import SUPERVISOR_QUEUE

TICK_SECONDS = 0.25


class SupervisorActor(Actor):
    """The deciding loop, and beside it the timers and, where there is one, the watch."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        clock: Callable[[], datetime] = utcnow,
        new_id: Callable[[], UUID] = uuid7,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(Handler(Supervisor(), store, transport, clock, new_id), transport, [SUPERVISOR_QUEUE])
        self._alarms = Alarms(store, transport, new_id)
        self._watch = watch
        self._clock = clock

    async def run(self) -> None:
        """Serve until `stop`; a failure of one loop ends all."""
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._timers())]
            if self._watch is not None:
                beside.append(group.create_task(self._watch.run()))
            await super().run()
            for task in beside:
                task.cancel()

    async def _timers(self) -> None:
        while True:
            await self._alarms.ring(self._clock(), self.handler.newer)
            await asyncio.sleep(TICK_SECONDS)


def actor(store: Store, transport: Transport, every: float = EVERY_SECONDS, journal: Journal | None = None) -> Actor:
    """A supervisor over these ports, ready to run; it looks for what was lost `every` so many seconds."""
    return SupervisorActor(store, transport, watch=Watch(store, transport, utcnow, uuid7, every, journal))


async def serve(settings: Settings) -> int:
    """Run as a process of its own until a signal; returns the exit code."""
    make = partial(actor, every=settings.sweep_seconds, journal=Journal())
    return await deciding.serve("branch-supervisor", SUPERVISOR, make, settings)
