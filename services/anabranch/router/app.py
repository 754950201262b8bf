"""Wire the router: its decider, its queue."""

from anabranch.domain.deciders import Router
from anabranch.runtime import deciding
from anabranch.runtime.actor import Actor
from anabranch.runtime.handler import Handler
from anabranch.runtime.ports import Store, Transport
from anabranch.runtime.rabbitmq.parties import ROUTER
from anabranch.runtime.settings import Settings
from anabranch_contracts.addresses import ROUTER_QUEUE


def actor(store: Store, transport: Transport) -> Actor:
    """A router over these ports, ready to run."""
    return Actor(Handler(Router(), store, transport), transport, [ROUTER_QUEUE])


async def serve(settings: Settings) -> int:
    """Run as a process of its own until a signal; returns the exit code."""
    return await deciding.serve("router", ROUTER, actor, settings)
