"""The broker in memory: topic routing, unacked tracking, redelivery. For the embedded mode and the simulator."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count

from anabranch.runtime.ports import Delivery, Depth, Outgoing, Unavailable
from anabranch_contracts.addresses import (
    PARKED_QUEUE,
    ROUTER_KEYS,
    ROUTER_QUEUE,
    SUPERVISOR_KEYS,
    SUPERVISOR_QUEUE,
    agent_of,
    step_key,
    step_queue,
)


@dataclass
class Queue:
    """Messages that wait, and who wants to be told."""

    ready: deque[Delivery] = field(default_factory=deque)
    watchers: dict[asyncio.Event, None] = field(default_factory=dict)

    def put(self, delivery: Delivery) -> None:
        self.ready.append(delivery)
        self.wake()

    def put_back(self, delivery: Delivery) -> None:
        """Offer again, ahead of the others."""
        again = replace(delivery, redelivered=True, delivery_count=delivery.delivery_count + 1)
        self.ready.appendleft(again)
        self.wake()

    def wake(self) -> None:
        for watcher in self.watchers:
            watcher.set()


@dataclass
class MemoryBroker:
    """Queues and bindings shared by the transports of one process."""

    queues: dict[str, Queue] = field(default_factory=dict)
    bindings: dict[str, list[str]] = field(default_factory=dict)
    signals: dict[int, tuple[str, asyncio.Queue[tuple[str, bytes]]]] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=count)
    marks: set[str] = field(default_factory=set)

    def queue(self, name: str, keys: Sequence[str] = ()) -> Queue:
        """Declare a queue and bind it."""
        found = self.queues.setdefault(name, Queue())
        for key in keys:
            bound = self.bindings.setdefault(key, [])
            if name not in bound:
                bound.append(name)
        return found

    def route(self, message: Outgoing) -> None:
        """Copy a message to the queues bound to its key."""
        if (agent := agent_of(message.routing_key)) is not None:
            self.queue(step_queue(agent), [message.routing_key])
        for name in self.bindings.get(message.routing_key, ()):  # queues are bound to keys here, never to patterns
            self.queues[name].put(self._delivery(message))

    def direct(self, message: Outgoing) -> None:
        """Put a reply into a queue by its name; a vanished one is no error."""
        queue = self.queues.get(message.reply_to_queue or "")
        if queue is not None:
            queue.put(self._delivery(message))

    def _delivery(self, m: Outgoing) -> Delivery:
        return Delivery(m.routing_key, m.body, str(m.message_id), m.correlation_id, m.reply_to, m.headers)


def matches(pattern: str, key: str) -> bool:
    """Whether a topic pattern (`*` one word, `#` any number of words) matches a routing key."""
    if "*" not in pattern and "#" not in pattern:
        return pattern == key
    return _match(pattern.split("."), key.split("."))


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[i:]) for i in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])


class MemoryInbox:
    """A consumer of some queues; what it took and did not ack is offered again when it closes."""

    def __init__(self, queues: list[Queue], prefetch: int) -> None:
        self._queues = queues
        self._prefetch = prefetch
        self._unacked: dict[int, tuple[Queue, Delivery]] = {}
        self._tags = count(1)
        self._changed = asyncio.Event()
        self._stopped = False
        self.failed = False
        for queue in queues:
            queue.watchers[self._changed] = None

    def poll(self, limit: int) -> list[Delivery]:
        """What is there now, at most `limit`."""
        taken: list[Delivery] = []
        for queue in self._queues:
            while queue.ready and len(taken) < limit and len(self._unacked) < self._prefetch:
                delivery = queue.ready.popleft()
                delivery.tag = next(self._tags)
                self._unacked[delivery.tag] = (queue, delivery)
                taken.append(delivery)
                queue.watchers[self._changed] = queue.watchers.pop(self._changed)  # next time the others first
        return taken

    async def take(self, limit: int) -> list[Delivery]:
        while not self._stopped:
            self._changed.clear()
            if taken := self.poll(limit):
                return taken
            await self._changed.wait()
        return []

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._unacked.pop(delivery.tag, None)
        self._changed.set()

    def flush(self) -> None:
        """An ack is known at once here."""

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            entry = self._unacked.pop(delivery.tag, None)
            if entry is not None:
                entry[0].put_back(delivery)

    async def untaken(self) -> list[Delivery]:
        await self.stop()
        return []

    async def stop(self) -> None:
        self._stopped = True
        self._changed.set()

    def close(self) -> None:
        """Give back everything that is unacked, oldest first."""
        for queue in self._queues:
            queue.watchers.pop(self._changed, None)
        for queue, delivery in reversed(self._unacked.values()):
            queue.put_back(delivery)
        self._unacked.clear()
        self._stopped = self.failed = True
        self._changed.set()


class MemoryTransport:
    """One party's connection to a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._inboxes: list[MemoryInbox] = []
        self._replies: list[str] = []
        self._closed = False

    def _reached(self) -> MemoryBroker:
        """The broker, as long as the connection lasts."""
        if self._closed:
            raise Unavailable("the connection is gone")
        return self._broker

    async def connect(self) -> None:
        self._broker.queue(ROUTER_QUEUE, ROUTER_KEYS)
        self._broker.queue(SUPERVISOR_QUEUE, SUPERVISOR_KEYS)
        self._broker.queue(PARKED_QUEUE)

    async def declare_steps(self, agents: Sequence[str]) -> None:
        for agent in agents:
            self._reached().queue(step_queue(agent), [step_key(agent)])

    async def declare_reply_queue(self) -> str:
        """A queue of one's own, gone when the transport closes."""
        name = f"anabranch.reply.{next(self._broker.numbers)}"
        self._reached().queue(name)
        self._replies.append(name)
        return name

    async def consume(self, queues: Sequence[str], prefetch: int) -> MemoryInbox:
        inbox = MemoryInbox([self._reached().queue(name) for name in queues], prefetch)
        self._inboxes.append(inbox)
        return inbox

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        broker = self._reached()
        for message in messages:
            if message.reply_to_queue is not None:
                broker.direct(message)
            else:
                broker.route(message)

    async def offer_again(self, message: Outgoing) -> bool:
        await self.publish([message])
        return True

    async def park(self, delivery: Delivery, reason: str) -> None:
        headers = {**delivery.headers, "reason": reason, "routing-key": delivery.routing_key}
        self._reached().queues[PARKED_QUEUE].put(replace(delivery, headers=headers, tag=None))

    async def depth(self, queue: str) -> Depth | None:
        found = self._reached().queues.get(queue)
        return Depth(len(found.ready), len(found.watchers)) if found is not None else None

    async def purge(self, queue: str) -> int:
        found = self._reached().queues.get(queue, Queue())
        count = len(found.ready)
        found.ready.clear()
        return count

    async def marked(self, mark: str) -> bool:
        return mark in self._reached().marks

    async def mark(self, mark: str) -> None:
        self._reached().marks.add(mark)

    async def unmark(self, mark: str) -> None:
        self._reached().marks.discard(mark)

    async def publish_signal(self, routing_key: str, body: bytes) -> None:
        """Tell whoever listens now; kept for nobody."""
        for pattern, queue in list(self._broker.signals.values()):
            if matches(pattern, routing_key):
                with suppress(asyncio.QueueFull):
                    queue.put_nowait((routing_key, body))

    async def listen_signals(self, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Live signals whose key matches; a slow listener loses some."""
        number, queue = next(self._reached().numbers), asyncio.Queue[tuple[str, bytes]](10_000)
        self._broker.signals[number] = (pattern, queue)
        try:
            while True:
                yield await queue.get()
        finally:
            del self._broker.signals[number]

    def healthy(self) -> bool:
        return not self._closed

    async def probe(self) -> None:
        """It confirms whatever it gets, until it is closed."""
        self._reached()

    def lose(self) -> None:
        self._closed = True
        for inbox in self._inboxes:
            inbox.close()

    async def close(self) -> None:
        self._closed = True
        for inbox in self._inboxes:
            inbox.close()
        for name in self._replies:
            self._broker.queues.pop(name, None)
