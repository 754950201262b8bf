"""The loop of a deciding service: what has piled up becomes a batch, and batches form by themselves.

Each run is an actor: what comes for it waits in a line of its own and is handled in order, by one batch at a time. Up
to `LANES` batches, of different runs, are under way: while one waits for the store or the broker another is decided,
and what comes for one run does not wait until what was begun for others is done. Where a full batch waits, the next one
begins once this one is stored, of the same run too: what it leads to is published, and its messages acked, meanwhile.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from anabranch.runtime.handler import NOBODY_ELSE, Handler, Held
from anabranch.runtime.lines import BATCH, Lines, Shares
from anabranch.runtime.outbox import Settled, again
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
        self.shares = Shares()
        self._transport = transport
        self._queues = queues
        self._inbox: Inbox | None = None
        self._sizes = BATCH_SIZE.labels(handler.service)
        self._stopping, self._busy = False, 0
        self._leaving: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`; a failure of one loop ends all.

        It is not `ready` with batches in hand: only that one was handled tells a store that takes nothing.
        """
        self._inbox = inbox = await self._transport.consume(self._queues, PREFETCH)
        lines = Lines(self.shares)
        self.ready.set()
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(self._lane(lines, inbox, group))
            while not self._stopping and (deliveries := await inbox.take(BATCH)):
                lines.join(await self.handler.read(deliveries, inbox))
            await inbox.requeue([one.delivery for one in lines.close()])
        for task in self._leaving:
            task.cancel()

    async def _lane(self, lines: Lines, inbox: Inbox, group: asyncio.TaskGroup) -> None:
        """One batch after the other; the next one begins before this one is told of if it is full already."""
        while batch := await lines.batch():
            self._sizes.observe(len(batch))
            self._busy += 1
            self.ready.clear()
            settled = await self.handler.settle(batch)
            if lines.plenty():
                lines.handled(batch)
                group.create_task(self._tell(settled, inbox, lines.held(batch)))
            else:
                await self._tell(settled, inbox)
                lines.handled(batch)

    async def _tell(self, settled: Settled, inbox: Inbox, held: Held = NOBODY_ELSE) -> None:
        if left := await self.handler.tell(settled, inbox, held):
            task = asyncio.create_task(self._leave(left, inbox))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._busy -= 1
        self.ready.set()  # whoever waits for it is told, also where another batch is in hand
        if self._busy:
            self.ready.clear()

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
