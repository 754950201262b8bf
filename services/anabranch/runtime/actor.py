"""The loop of a deciding service: what has piled up becomes a batch, and batches form by themselves.

Each run is an actor: what comes for it waits in a line of its own and is handled in order, by one batch at a time. Up
to `LANES` batches, of different runs, are under way: while one waits for the store or the broker another is decided,
and what comes for one run does not wait until what was begun for others is done.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from anabranch.runtime.handler import Handler
from anabranch.runtime.lines import BATCH, Lines
from anabranch.runtime.outbox import again
from anabranch.runtime.ports import Inbox, Transport, Unavailable
from anabranch.runtime.reading import Inbound
from anabranch.runtime.telemetry import BATCH_SIZE

LANES = 2
PREFETCH = 8 * BATCH
LEAVE_SECONDS = 1.0


class Actor:
    """One consumer that feeds one handler until it is stopped."""

    def __init__(self, handler: Handler, transport: Transport, queues: Sequence[str]):
        self.handler = handler
        self._transport = transport
        self._queues = queues
        self._inbox: Inbox | None = None
        self._sizes = BATCH_SIZE.labels(handler.service)
        self._stopping, self._busy = False, 0
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`; a failure of one loop ends all.

        It is not `ready` with batches in hand: only that one was handled tells a store that takes nothing.
        """
        self._inbox = inbox = await self._transport.consume(self._queues, PREFETCH)
        lines = Lines()
        self.ready.set()
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(self._lane(lines, inbox))
            while not self._stopping and (deliveries := await inbox.take(BATCH)):
                lines.join(await self.handler.read(deliveries, inbox))
            await inbox.requeue([one.delivery for one in lines.close()])

    async def _lane(self, lines: Lines, inbox: Inbox) -> None:
        """One batch after the other; what it leaves is not acked, so it is offered again when this ends."""
        leaving: set[asyncio.Task[None]] = set()
        while batch := await lines.batch():
            self._sizes.observe(len(batch))
            if left := await self._handled(batch, inbox):
                task = asyncio.create_task(self._leave(left, inbox))
                leaving.add(task)
                task.add_done_callback(leaving.discard)
            lines.handled(batch)
        for task in leaving:
            task.cancel()

    async def _handled(self, batch: Sequence[Inbound], inbox: Inbox) -> list[Inbound]:
        self._busy += 1
        self.ready.clear()
        left = await self.handler.handle(batch, inbox)
        self._busy -= 1
        self.ready.set()  # whoever waits for it is told, also where another lane is busy
        if self._busy:
            self.ready.clear()
        return left

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
        """Take nothing more; the batches in hand are finished by `run`."""
        self._stopping = True
        if self._inbox is not None:
            await self._inbox.stop()
