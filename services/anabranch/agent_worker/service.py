"""Run a worker as a process of its own, on RabbitMQ."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anabranch.agent_worker.app import Worker
from anabranch.agents.errors import InvalidAgent
from anabranch.agents.registry import AGENTS, load_modules
from anabranch.runtime.lifecycle import Lifecycle, Opened, Runnable
from anabranch.runtime.ports import Transport
from anabranch.runtime.pulse import Pulse
from anabranch.runtime.rabbitmq.parties import WORKER
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.redacting import redacting
from anabranch.runtime.settings import Settings, required, reread


async def serve(settings: Settings) -> int:
    """Load the agents and serve their steps until a signal; returns the exit code."""
    required(settings.amqp_url, "ANABRANCH_AMQP_URL")
    load_modules(required(settings.agents, "ANABRANCH_AGENTS"))
    if not AGENTS.names():
        raise InvalidAgent(f"{settings.agents} registers no agent", hint='decorate one with @agent("Name")')

    def transport_of_ours() -> Transport:
        """So that nothing that is to be left out travels at all."""
        broker = reread(settings).amqp_url or ""
        return redacting(RabbitTransport(broker, settings.queue_type, party=WORKER), settings.redaction)

    worker = Worker(transport_of_ours(), AGENTS, settings.concurrency)

    def anew() -> Opened:
        return opened(worker, transport_of_ours())

    return await Lifecycle("agent-worker", anew, settings).serve()


@asynccontextmanager
async def opened(worker: Worker, transport: Transport) -> AsyncIterator[tuple[Runnable, Pulse]]:
    """The worker, going on over a connection that was reached and is closed behind it."""
    try:
        await transport.connect()
        worker.attach(transport)
        yield worker, Pulse([transport.probe], transport.healthy, transport.lose)
    finally:
        await transport.close()
