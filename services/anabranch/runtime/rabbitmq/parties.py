"""Who connects to the broker. Each party has a user of its own in `ops/rabbitmq/definitions.json`."""

from dataclasses import dataclass

from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SERVICE_QUEUES, SUPERVISOR_QUEUE


@dataclass(frozen=True, slots=True)
class Party:
    """`owns`: the queues whose bindings it brings up to date when it connects."""

    name: str
    owns: frozenset[str] = frozenset()


ROUTER = Party("router", frozenset({ROUTER_QUEUE, PARKED_QUEUE}))
SUPERVISOR = Party("supervisor", frozenset({SUPERVISOR_QUEUE, PARKED_QUEUE}))
WORKER = Party("worker")
CLIENT = Party("client")
OPERATOR = Party("operator", frozenset(SERVICE_QUEUES))
