"""Ports with a seam before and after each call, where the scheduler may stop, crash or interleave."""

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any


class Seam:
    """Awaiting it hands control to the scheduler once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __await__(self) -> Generator["Seam", None, None]:
        yield self


class SeamUnit:
    def __init__(self, unit: Any) -> None:
        self._unit = unit

    async def read(self, known: Any, reducer: str) -> Any:
        await Seam("read")
        return await self._unit.read(known, reducer)

    async def caused_by(self, messages: Any) -> Any:
        await Seam("recall")
        return await self._unit.caused_by(messages)

    async def history(self, run_id: Any) -> Any:
        await Seam("history")
        return await self._unit.history(run_id)

    async def append(self, events: Any, rows: Any, snapshots: Any = ()) -> None:
        await Seam("before append")
        await self._unit.append(events, rows, snapshots)


class SeamStore:
    """A store whose calls can be crashed at."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def ready(self) -> None:
        await self._store.ready()

    @asynccontextmanager
    async def unit(self, runs: Sequence[Any]) -> AsyncIterator[SeamUnit]:
        async with self._store.unit(runs) as unit:
            yield SeamUnit(unit)
        await Seam("committed")


class SeamTransport:
    """A transport that may die between any two messages of a publish."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    async def publish(self, messages: Sequence[Any]) -> None:
        await Seam("before publish")
        half = len(messages) // 2
        for part in (messages[:half], messages[half:]):
            if part:
                await self._transport.publish(part)
                await Seam("published")

    async def publish_signal(self, name: str, body: bytes) -> None:
        await Seam("before signal")
        await self._transport.publish_signal(name, body)

    async def park(self, delivery: Any, reason: str) -> None:
        await Seam("before park")
        await self._transport.park(delivery, reason)


class SeamInbox:
    """An inbox that may die before or after it acks."""

    def __init__(self, inbox: Any) -> None:
        self._inbox = inbox

    async def ack(self, deliveries: Sequence[Any]) -> None:
        await Seam("before ack")
        await self._inbox.ack(deliveries)


def at_once(coroutine: Any) -> Any:
    """Run a coroutine that awaits nothing but memory."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a memory port suspended")
