"""Messages that were set aside: look at them, offer them again."""

import asyncio
from typing import Any

from anabranch.cli.output import table
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Outgoing
from anabranch.runtime.rabbitmq.parties import WORKER
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.settings import load, required
from anabranch_contracts.addresses import PARKED_QUEUE, agent_of, parked_key

QUIET_SECONDS = 0.5


def _row(delivery: Delivery) -> dict[str, Any]:
    return {
        "message_id": delivery.message_id,
        "routing_key": delivery.headers.get("routing-key"),
        "reason": delivery.headers.get("reason"),
        "body": delivery.body[:2000].decode(errors="replace"),
    }


async def _parked(again: bool) -> list[dict[str, Any]]:
    settings = load()
    transport = RabbitTransport(required(settings.amqp_url, "ANABRANCH_AMQP_URL"), settings.queue_type)
    try:
        await transport.connect()
        inbox = await transport.consume([PARKED_QUEUE], 10_000)
        found: list[Delivery] = []
        while taken := await _next(inbox):
            found += taken
        offered = [d for d in found if again and _may_return(d)]
        await transport.publish([_again(d) for d in offered])
        await inbox.ack(offered)
        await inbox.requeue([d for d in found if not (again and _may_return(d))])
        return [_row(d) for d in (offered if again else found)]
    finally:
        await transport.close()


async def _next(inbox: Any) -> list[Delivery]:
    """What is there; [] when nothing more comes for a moment."""
    try:
        taken: list[Delivery] = await asyncio.wait_for(inbox.take(1000), QUIET_SECONDS)
    except TimeoutError:
        return []
    return taken


def _may_return(delivery: Delivery) -> bool:
    """Only steps come back from what a worker has set aside: it could have made up anything else."""
    return delivery.routing_key != parked_key(WORKER.name) or agent_of(_key(delivery)) is not None


def _key(delivery: Delivery) -> str:
    return str(delivery.headers.get("routing-key"))


def _again(delivery: Delivery) -> Outgoing:
    return Outgoing(_key(delivery), delivery.body, uuid7(), "", delivery.correlation_id)


def list_parked(*, json: bool = False) -> None:
    """List parked messages with their reasons.

    Parameters
    ----------
    json
        print JSON
    """
    table(asyncio.run(_parked(again=False)), ("message_id", "routing_key", "reason", "body"), json)


def replay(*, json: bool = False) -> None:
    """Offer parked messages to the services again, for instance after a mend; lists those that were.

    Parameters
    ----------
    json
        print JSON
    """
    table(asyncio.run(_parked(again=True)), ("message_id", "routing_key", "reason"), json)
