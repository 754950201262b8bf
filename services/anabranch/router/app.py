"""Wire the router: its decider, its queue."""

from anabranch_contracts.addresses import ROUTER_QUEUE

from anabranch.domain.deciders import Router
from anabranch.runtime.actor import Actor
from anabranch.runtime.handler import Handler
from anabranch.runtime.ports import Store, Transport


def actor(store: Store, transport: Transport) -> Actor:
    """A router over these ports, ready to run."""
    return Actor(Handler(Router(), store, transport), transport, [ROUTER_QUEUE])
