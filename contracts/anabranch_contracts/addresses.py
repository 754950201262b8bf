"""Addresses: exchanges, queues and routing keys; pinned names."""

from functools import lru_cache
from urllib.parse import quote, unquote

EXCHANGE = "anabranch"
SIGNALS = "anabranch.signals"
ROUTER_QUEUE = "anabranch.router"
SUPERVISOR_QUEUE = "anabranch.supervisor"
PARKED_QUEUE = "anabranch.parked"
REPLY_QUEUES = "anabranch.reply."
MARK = "anabranch.mark."

ROUTER_KEYS = ("run.requested", "step.completed")
SUPERVISOR_KEYS = (
    "step.failed",
    "user.provided",
    "run.cancel",
    "run.pause",
    "run.resume",
    "run.checkpoint",
    "run.fork",
    "run.recover",
)
FORMER_KEYS = {  # what a queue was sent by a release before; who owns it lets go of them
    SUPERVISOR_QUEUE: (
        "step.rejected",
        "branch.spawned",
        "branch.parked",
        "branch.completed",
        "branch.failed",
        "branch.merged",
        "user.requested",
    )
}
PARKED_KEYS = ("parked.*",)
SERVICE_QUEUES = {ROUTER_QUEUE: ROUTER_KEYS, SUPERVISOR_QUEUE: SUPERVISOR_KEYS, PARKED_QUEUE: PARKED_KEYS}
STOP_SIGNAL = "step.stop"
PROBE = "probe"


def step_key(agent: str) -> str:
    """Routing key of the steps of `agent`."""
    return f"step.requested.{_addressed(agent)}"


def step_queue(agent: str) -> str:
    """Queue of the steps of `agent`."""
    return f"anabranch.step.{_addressed(agent)}"


@lru_cache(4096)
def agent_of(key: str) -> str | None:
    """Whose steps a routing key is for; None where it is for none."""
    prefix = step_key("")
    return unquote(key[len(prefix) :].replace("#", "%")) if key.startswith(prefix) else None


def parked_key(party: str) -> str:
    """Routing key of what a party sets aside; the broker knows who may use which."""
    return f"parked.{party}"


def answerable(reply_to: str) -> bool:
    """Whether a reply may go to that queue: never to one of the services', whoever asks for it."""
    return not reply_to.startswith("anabranch.") or reply_to.startswith(REPLY_QUEUES)


@lru_cache(4096)
def _addressed(agent: str) -> str:
    """The name as AMQP clients take it: what is beyond letters, digits and -_.:@,/+ and blanks as `#` and its bytes."""
    return quote(agent, safe="-_.:@,/+ ").replace("%", "#").replace("~", "#7E")
