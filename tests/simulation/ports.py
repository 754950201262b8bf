"""The ports of one party: the memory adapters, with a seam at every call.

At a seam others may go on, and a fault may strike (`faults`). A call that this file does not name is a seam by its
own name, so a port that grows is covered as it grows. A store's unit keeps what it appends to itself until it
commits: others read and commit in between, and whoever is second is told so by the fence.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from anabranch.runtime.ports import Conflict, Delivery, Outgoing, Unavailable

JSON = Any


class Port:
    """What is not named here passes through, with a seam before it."""

    def __init__(self, party: Any, inner: Any) -> None:
        self.party = party
        self.inner = inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self.inner, name)

        async def through(*args: Any, **kwargs: Any) -> Any:
            await self.party.seam(name, self.cut)
            return await call(*args, **kwargs)

        return through

    def cut(self) -> None:
        """Lose the connection; raises `Unavailable`."""
        raise Unavailable("cut off")


class Unit(Port):
    """A transaction, written when it commits."""

    def __init__(self, party: Any, inner: Any) -> None:
        super().__init__(party, inner)
        self.appended: tuple[Any, ...] | None = None

    async def append(self, *what: Any) -> None:
        await self.party.seam("append", self.cut)
        self.appended = what

    async def commit(self) -> None:
        """All or nothing; in doubt, one of the two."""
        fault = await self.party.seam("commit", self.cut)
        if self.appended is not None and (fault is None or self.party.toss()):
            try:
                await self.inner.append(*self.appended)
            except Conflict:
                self.party.world.seen["conflict"] += 1
                raise
        if fault is not None:
            raise Unavailable("whether it was committed is not known")
        await self.party.seam("commit, done", self.cut)


class Store(Port):
    """The event store as one party reaches it."""

    @asynccontextmanager
    async def unit(self, runs: Sequence[Any], hold: bool = True) -> AsyncIterator[Unit]:
        await self.party.seam("unit", self.cut)
        async with self.inner.unit(runs, hold) as inner:
            unit = Unit(self.party, inner)
            yield unit
            await unit.commit()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[bool]:
        """Who is killed while it holds the watch holds it no longer."""
        await self.party.seam("watch", self.cut)
        async with self.inner.watch() as held:
            self.party.watches = held
            yield held
            self.party.watches = False


class Inbox(Port):
    """A consumer: batches of any size in any order, gone with its connection."""

    def __init__(self, party: Any, inner: Any, transport: "Transport") -> None:
        super().__init__(party, inner)
        self._transport = transport
        self._taken: dict[Any, int] = {}

    def cut(self) -> None:
        self._transport.cut()

    @property
    def failed(self) -> bool:
        return self._transport.lost

    async def take(self, limit: int) -> list[Delivery]:
        await self.party.seam("take", self.cut)
        random = self.party.world.random
        taken: list[Delivery] = await self.inner.take(min(limit, random.choice((1, 1, 2, 8, 256))))
        if self._transport.lost:
            raise Unavailable("the consumer is gone")
        self._taken |= dict.fromkeys((delivery.tag for delivery in taken), self.party.world.loop.steps)
        if len(taken) > 1:
            random.shuffle(taken)
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self._transport.lost:
            raise Unavailable("the consumer is gone; its deliveries will be offered again")
        await self.party.seam("ack", self.cut)
        await self.inner.ack(deliveries)
        self.party.acked(deliveries, self._taken)
        await self.party.seam("ack, done", self.cut)

    def flush(self) -> None:
        self.inner.flush()

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        await self.party.seam("requeue", lambda: None)
        await self.inner.requeue(deliveries)

    async def stop(self) -> None:
        await self.party.seam("stop", lambda: None)
        await self.inner.stop()


class Transport(Port):
    """A connection to the broker; once lost it stays so, and what was not acked is offered again."""

    def __init__(self, party: Any, inner: Any) -> None:
        super().__init__(party, inner)
        self.lost = False

    def healthy(self) -> bool:
        return not self.lost

    def lose(self) -> None:
        """The connection is gone."""
        self.lost = True
        self.inner.lose()

    def cut(self) -> None:
        self.lose()
        raise Unavailable("the connection is gone")

    async def consume(self, queues: Sequence[str], prefetch: int) -> Inbox:
        await self.party.seam("consume", self.cut)
        return Inbox(self.party, await self.inner.consume(queues, prefetch), self)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """All of them; in doubt any of them, and the publisher cannot tell which."""
        fault = await self.party.seam("publish", self.cut)
        if fault is not None:
            await self.inner.publish([m for m in messages if self.party.toss()])
            if self.party.toss() and self.party.toss():
                self.lose()
            raise Unavailable("not all was confirmed")
        for i, message in enumerate(messages):
            if i:
                await self.party.seam("publish, half", self.cut)
            await self.inner.publish([message])
        await self.party.seam("publish, done", self.cut)

    async def publish_signal(self, name: str, body: bytes) -> None:
        await self.party.seam("signal", lambda: None)
        await self.inner.publish_signal(name, body)

    async def park(self, delivery: Delivery, reason: str) -> None:
        await self.party.seam("park", self.cut)
        await self.inner.park(delivery, reason)
        self.party.world.ledger.parked.append((delivery, reason))
        await self.party.seam("park, done", self.cut)

    def listen_signals(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        return self._listened(pattern)

    async def _listened(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        await self.party.seam("listen", self.cut)
        async for signal in self.inner.listen_signals(pattern):
            yield signal

    async def close(self) -> None:
        await self.party.seam("close", lambda: None)
        self.lose()
