"""The loop of a deciding service: take what has piled up, handle it, repeat; batches form by themselves."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from anabranch.runtime.handler import Handler
from anabranch.runtime.outbox import again
from anabranch.runtime.ports import Inbox, Transport, Unavailable
from anabranch.runtime.reading import Inbound
from anabranch.runtime.telemetry import BATCH_SIZE

BATCH = 256
LEAVE_SECONDS = 1.0


class Actor:
    """One consumer that feeds one handler until it is stopped."""

    def __init__(self, handler: Handler, transport: Transport, queues: Sequence[str], prefetch: int = 2 * BATCH):
        self.handler = handler
        self._transport = transport
        self._queues = queues
        self._prefetch = prefetch
        self._inbox: Inbox | None = None
        self._stopping = False
        self._sizes = BATCH_SIZE.labels(handler.service)
        self._leaving: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`; raises what the ports raise when they cannot go on.

        It is not `ready` with a batch in hand: only that it was handled tells a store that takes nothing.
        """
        self._inbox = await self._transport.consume(self._queues, self._prefetch)
        self.ready.set()
        while not self._stopping and (deliveries := await self._inbox.take(BATCH)):
            self.ready.clear()
            self._sizes.observe(len(deliveries))
            if left := await self.handler.process(deliveries, self._inbox):
                task = asyncio.create_task(self._leave(left, self._inbox))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
            self.ready.set()
        for task in self._leaving:  # what is not acked is offered again
            task.cancel()

    async def _leave(self, left: Sequence[Inbound], inbox: Inbox) -> None:
        """Offer it again a little later, to services of a newer release; as a copy where it may: no limit counts it."""
        await asyncio.sleep(LEAVE_SECONDS)
        with suppress(Unavailable):
            for one in left:
                if await self._transport.offer_again(again(one.delivery, one.message_id)):
                    await inbox.ack([one.delivery])
                else:
                    await inbox.requeue([one.delivery])

    async def stop(self) -> None:
        """Take nothing more; the batch in hand is finished by `run`."""
        self._stopping = True
        if self._inbox is not None:
            await self._inbox.stop()
