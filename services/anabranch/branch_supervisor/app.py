"""Wire the supervisor: its decider, its queue, and the clock that wakes it for due timers."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from anabranch.domain.deciders import Supervisor
from anabranch.runtime import deciding
from anabranch.runtime.actor import Actor
from anabranch.runtime.handler import Handler, utcnow
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Store, Transport
from anabranch.runtime.rabbitmq.parties import SUPERVISOR
from anabranch.runtime.recovery import wake
from anabranch.runtime.settings import Settings
from anabranch_contracts.addresses import SUPERVISOR_QUEUE

TICK_SECONDS = 0.25


class SupervisorActor(Actor):
    """The deciding loop, and beside it the timers."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        clock: Callable[[], datetime] = utcnow,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        super().__init__(Handler(Supervisor(), store, transport, clock, new_id), transport, [SUPERVISOR_QUEUE])
        self._store = store
        self._timer_transport = transport
        self._clock = clock
        self._new_id = new_id

    async def run(self) -> None:
        """Serve until `stop`; a failure of either loop ends both."""
        async with asyncio.TaskGroup() as group:
            timers = group.create_task(self._timers())
            await super().run()
            timers.cancel()

    async def _timers(self) -> None:
        while True:
            await wake(self._store, self._timer_transport, self._clock(), self._new_id, self.handler.newer)
            await asyncio.sleep(TICK_SECONDS)


def actor(store: Store, transport: Transport) -> Actor:
    """A supervisor over these ports, ready to run."""
    return SupervisorActor(store, transport)


async def serve(settings: Settings) -> int:
    """Run as a process of its own until a signal; returns the exit code."""
    return await deciding.serve("branch-supervisor", SUPERVISOR, actor, settings)
