"""A run of every kind that services may leave behind: how it is asked for, how far it gets, how it goes on and ends."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

JSON = Any
YEARS = "timeout(3e9)"


@dataclass(frozen=True)
class Kind:
    """`reached` counts event types while the agents hold; `then` are commands; `ends` is status and result."""

    topology: JSON
    reached: dict[str, int]
    ends: tuple[str, JSON]
    then: list[tuple[str, dict[str, JSON]]] = field(default_factory=list)
    first: list[tuple[str, dict[str, JSON]]] = field(default_factory=list)
    config: dict[str, JSON] = field(default_factory=dict)


def chain(*names: str, **more: JSON) -> JSON:
    """Agents one after the other."""
    return {"nodes": list(names), "edges": [f"{x} -> {y}" for x, y in pairwise(names)], **more}


HUB = {"nodes": ["Boss", "W", "Held"], "edges": ["Boss <-> W", "Boss <-> Held"], "entry": "Boss"}
SPLIT = {"nodes": ["Splitter", "W", "Held", "Meet"],
         "edges": ["Splitter -> W", "Splitter -> Held", "W -> Meet", "Held -> Meet"]}  # fmt: skip
CALLS = {"nodes": ["Caller", "W", "Held"], "edges": ["Caller <-> W", "Caller <-> Held"], "entry": "Caller"}
TALK = {"nodes": ["Ping", "Pong", "Held"], "edges": ["Ping <-> Pong", "Ping -> Held"], "entry": "Ping"}
IN_HAND = {"StepCompleted": 1, "StepRequested": 2}
ANSWER = "user.provided"

KINDS: dict[str, Kind] = {
    "completed": Kind(chain("A", "B"), {"RunCompleted": 1}, ("completed", "b after a")),
    "failed": Kind(chain("Doomed"), {"RunFailed": 1}, ("failed", None)),
    "rejected": Kind(chain("A", "Nobody", nodes=["A"]), {"RunRejected": 1}, ("rejected", None)),
    "cancelled": Kind(chain("Held"), {"RunCancelled": 1}, ("cancelled", None), first=[("run.cancel", {})]),
    "step in hand": Kind(chain("A", "Held", "B"), IN_HAND, ("completed", "b after held")),
    "fork in hand": Kind(HUB, {"StepCompleted": 4}, ("completed", ["w0", "w1", "w2", "held"])),
    "parked": Kind(SPLIT, {"BranchParked": 1}, ("completed", ["wNone", "held"])),
    "call in hand": Kind(CALLS, {"StepSuspended": 2, "StepCompleted": 2}, ("completed", ["w1", "w2", "held"])),
    "admission": Kind(
        {**HUB, "rules": ["max_parallel_branches(1)"]}, {"BranchSpawned": 5}, ("completed", ["w0", "w1", "w2", "held"])
    ),
    "long conversation": Kind(TALK, {"StepCompleted": 281}, ("completed", "held")),
    "question": Kind(
        chain("Asker"), {"UserInputRequested": 1}, ("completed", "you said yes"), [(ANSWER, {"value": "yes"})]
    ),
    "question with a timeout": Kind(chain("Impatient"), {"UserInputRequested": 1}, ("completed", "you said nobody")),
    "user node": Kind(
        {"nodes": ["Writer"], "edges": ["Writer <-> User"]},
        {"UserInputRequested": 1},
        ("completed", "you said hello"),
        [(ANSWER, {"value": "hello"})],
    ),
    "error before a person": Kind(
        {"nodes": ["Stuck", "B"], "edges": ["Stuck -> B", "Stuck <-> User"]},
        {"UserInputRequested": 1},
        ("completed", "b after helped"),
        [(ANSWER, {"value": "retry"})],
    ),
    "retry due": Kind(
        chain("Faulty"), {"StepRetryScheduled": 1}, ("completed", "mended"),
        config={"retry": {"base_delay": 60.0, "max_attempts": 9}},
    ),
    "later due": Kind(chain("Later"), {"StepRetryScheduled": 1}, ("completed", "later")),
    "clock": Kind(chain("A", "Held", "B", rules=[YEARS]), IN_HAND, ("completed", "b after held")),
    "paused": Kind(
        chain("A", "Held", "B"), {"RunPaused": 1}, ("completed", "b after held"), [("run.resume", {})],
        first=[("run.pause", {})],
    ),
    "paused by a rule": Kind(
        chain("A", "B", rules=[{"type": "ConditionalRule", "condition": "run.total_steps >= 1", "action": "pause"}]),
        {"RunPaused": 1},
        ("completed", "b after a"),
        [("run.resume", {})],
    ),
    "with a checkpoint": Kind(
        chain("A", "Held", "B"), {"CheckpointCreated": 1}, ("completed", "b after held"),
        first=[("run.checkpoint", {"name": "here"})],
    ),
}  # fmt: skip
FORKED = "step in hand"
"""Of this one a fork is left behind too: it ends like its source."""
