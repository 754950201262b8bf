"""The loop of a deciding service: take what has piled up, handle it, repeat; batches form by themselves."""

import asyncio
from collections.abc import Sequence

from anabranch.runtime.handler import Handler
from anabranch.runtime.ports import Inbox, Transport
from anabranch.runtime.telemetry import BATCH_SIZE

BATCH = 256


class Actor:
    """One consumer that feeds one handler until it is stopped."""

    def __init__(self, handler: Handler, transport: Transport, queues: Sequence[str], prefetch: int = 2 * BATCH):
        self.handler = handler
        self._transport = transport
        self._queues = queues
        self._prefetch = prefetch
        self._inbox: Inbox | None = None
        self._stopping = False
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`; raises what the ports raise when they cannot go on."""
        self._inbox = await self._transport.consume(self._queues, self._prefetch)
        self.ready.set()
        while not self._stopping and (deliveries := await self._inbox.take(BATCH)):
            BATCH_SIZE.labels(self.handler.service).observe(len(deliveries))
            await self.handler.process(deliveries, self._inbox)

    async def stop(self) -> None:
        """Take nothing more; the batch in hand is finished by `run`."""
        self._stopping = True
        if self._inbox is not None:
            await self._inbox.stop()
