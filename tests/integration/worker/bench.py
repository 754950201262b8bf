"""Workers on the broker in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anabranch.agent_worker.app import Worker
from anabranch.agents.registry import Registry
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Delivery
from anabranch_contracts.addresses import step_queue


class Gate:
    """An agent that says when it has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Any] = asyncio.Queue()
        self.go = asyncio.Event()

    async def run(self, request: Any) -> Any:
        self.begun.put_nowait(request)
        await self.go.wait()
        return request


class PerQueue(MemoryTransport):
    """Its prefetch counts for each queue, as RabbitMQ's does."""

    async def consume(self, queues: Any, prefetch: int) -> Any:
        return await super().consume(queues, prefetch * len(queues))


def registry(**agents: Any) -> Registry:
    made = Registry()
    for name, implementation in agents.items():
        made.register(name, implementation)
    return made


def a_worker(broker: MemoryBroker, agents: Registry, **options: Any) -> Worker:
    return Worker(MemoryTransport(broker), agents, name="w1", **options)


@asynccontextmanager
async def serving(
    broker: MemoryBroker, agents: Registry, transport: MemoryTransport | None = None, **options: Any
) -> AsyncIterator[None]:
    """A worker at work; afterwards everything that it was given must have been acked."""
    transport = transport or MemoryTransport(broker)
    worker = Worker(transport, agents, name="w1", **options)
    running = asyncio.create_task(worker.run())
    await worker.ready.wait()
    yield
    await worker.stop()
    await running
    await transport.close()
    assert not [delivery for name in agents.names() for delivery in waiting(broker, name)]


def waiting(broker: MemoryBroker, agent: str) -> list[Delivery]:
    return list(broker.queues[step_queue(agent)].ready)
