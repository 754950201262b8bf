"""Addresses: exchanges, queues and routing keys; pinned names."""

from urllib.parse import quote, unquote

EXCHANGE = "anabranch"
SIGNALS = "anabranch.signals"
ROUTER_QUEUE = "anabranch.router"
SUPERVISOR_QUEUE = "anabranch.supervisor"
PARKED_QUEUE = "anabranch.parked"

ROUTER_KEYS = ("run.requested", "step.completed")
SUPERVISOR_KEYS = (
    "step.failed",
    "step.rejected",
    "branch.spawned",
    "branch.parked",
    "branch.completed",
    "branch.failed",
    "branch.merged",
    "user.requested",
    "user.provided",
    "run.cancel",
    "run.pause",
    "run.resume",
    "run.checkpoint",
    "run.fork",
    "run.recover",
)
STOP_SIGNAL = "step.stop"


def step_key(agent: str) -> str:
    """Routing key of the steps of `agent`."""
    return f"step.requested.{_addressed(agent)}"


def step_queue(agent: str) -> str:
    """Queue of the steps of `agent`."""
    return f"anabranch.step.{_addressed(agent)}"


def agent_of(key: str) -> str | None:
    """Whose steps a routing key is for; None where it is for none."""
    prefix = step_key("")
    return unquote(key[len(prefix) :].replace("#", "%")) if key.startswith(prefix) else None


def _addressed(agent: str) -> str:
    """The name as AMQP clients take it: what is beyond letters, digits and -_.:@,/+ and blanks as `#` and its bytes."""
    return quote(agent, safe="-_.:@,/+ ").replace("%", "#").replace("~", "#7E")
