"""What the broker may answer by closing the channel is asked on one of its own, opened anew when that is gone.

Things are looked for before they are made: whoever may not make them uses what is there, as it is.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anabranch.runtime.ports import Depth, Unavailable
from anabranch.runtime.rabbitmq.channel import AccessRefused, Channel, NotFound
from anabranch.runtime.rabbitmq.confirms import Confirms
from anabranch.runtime.rabbitmq.connection import Connection

MARKS = "fanout"
ASKED_TIMES, AT_ONCE_SECONDS = 3, 0.2
MISSING = "is not there and this user may not make it: start the router, or import ops/rabbitmq/definitions.json"


class Errands:
    """Looks for exchanges and queues, and makes those that are missing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._publisher: Confirms | None = None

    async def _open(self) -> Channel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel()
        return self._channel

    async def publisher(self) -> Confirms:
        """A channel that confirms, for what the broker may refuse."""
        if self._publisher is None or self._publisher.is_closed:
            self._publisher = Confirms(await self._connection.channel())
            await self._publisher.begin()
        return self._publisher

    async def exchange(self, name: str, durable: bool) -> None:
        """A topic exchange."""
        try:
            await (await self._open()).exchange_declare(name, passive=True)
        except NotFound:
            with _allowed(f"exchange {name}"):
                await (await self._open()).exchange_declare(name, exchange_type="topic", durable=durable)

    async def queue(self, name: str, arguments: dict[str, Any]) -> bool:
        """A durable queue; whether it had to be made."""
        try:
            await (await self._open()).queue_declare(name, passive=True)
        except NotFound:
            with _allowed(f"queue {name}"):
                await (await self._open()).queue_declare(name, durable=True, arguments=arguments)
            return True
        return False

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Have the exchange's messages with that key come to the queue too."""
        await (await self._open()).queue_bind(queue, exchange, key)

    async def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Have them come no longer; nothing where they never did."""
        await (await self._open()).queue_unbind(queue, exchange, key)

    async def depth(self, queue: str) -> Depth | None:
        """How a queue stands; None where there is none."""
        for _ in range(ASKED_TIMES):
            try:
                depth = await standing(await self._open(), queue)
            except NotFound:
                return None
            if depth.sure:
                break
        return depth

    async def purge(self, queue: str) -> int:
        """Remove what nobody holds; how many."""
        try:
            return await (await self._open()).queue_purge(queue)
        except NotFound:
            return 0

    async def marked(self, mark: str) -> bool:
        """Whether a mark is there."""
        try:
            await (await self._open()).exchange_declare(mark, exchange_type=MARKS, passive=True)
        except NotFound:
            return False
        return True

    async def mark(self, mark: str) -> None:
        """Leave a mark: an exchange that nobody binds to, durable like the queues, and without a node of its own."""
        await (await self._open()).exchange_declare(mark, exchange_type=MARKS, durable=True)

    async def unmark(self, mark: str) -> None:
        """Remove a mark, if it is there."""
        await (await self._open()).exchange_delete(mark)


async def standing(channel: Channel, queue: str) -> Depth:
    """How a queue stands. RabbitMQ waits 250 ms for the leader of a quorum queue, and then says: nothing, nobody."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    found = await channel.queue_declare(queue, passive=True)
    ready, consumers = found.message_count or 0, found.consumer_count or 0
    return Depth(ready, consumers, sure=bool(ready or consumers) or clock() - asked < AT_ONCE_SECONDS)


@contextmanager
def _allowed(what: str) -> Iterator[None]:
    """Whoever may not make what is missing waits for somebody who may."""
    try:
        yield
    except AccessRefused as refusal:
        raise Unavailable(f"RabbitMQ: the {what} {MISSING}") from refusal
