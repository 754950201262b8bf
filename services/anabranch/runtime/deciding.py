"""Wire a deciding service to Postgres and RabbitMQ."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anabranch.runtime.actor import Actor
from anabranch.runtime.lifecycle import Lifecycle, Opened, Runnable
from anabranch.runtime.ports import Store, Transport
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.pulse import Pulse
from anabranch.runtime.rabbitmq.parties import Party
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.redacting import redacting
from anabranch.runtime.settings import Settings, required, reread


async def serve(name: str, party: Party, make: Callable[[Store, Transport], Actor], settings: Settings) -> int:
    """Run the actor that `make` builds until a signal; returns the exit code."""
    required(settings.database_url, "ANABRANCH_DATABASE_URL")
    required(settings.amqp_url, "ANABRANCH_AMQP_URL")

    def anew() -> Opened:
        now = reread(settings)
        transport = RabbitTransport(now.amqp_url or "", settings.queue_type, party=party)
        return opened(PostgresStore(now.database_url or ""), redacting(transport, settings.redaction), make)

    return await Lifecycle(name, anew, settings).serve()


@asynccontextmanager
async def opened(
    store: Store, transport: Transport, make: Callable[[Store, Transport], Actor]
) -> AsyncIterator[tuple[Runnable, Pulse]]:
    """The actor over ports that were reached; they are closed behind it."""
    try:
        await store.ready()
        await store.probe()
        await transport.connect()
        yield make(store, transport), Pulse([transport.probe, store.probe], transport.healthy, transport.lose)
    finally:
        await transport.close()
        await store.close()
