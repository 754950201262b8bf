"""Addresses: exchanges, queues and routing keys; pinned names."""

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
    return f"step.requested.{agent}"


def step_queue(agent: str) -> str:
    """Queue of the steps of `agent`."""
    return f"anabranch.step.{agent}"
