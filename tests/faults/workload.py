"""Runs of every kind for the fault suite, and how each must end."""

from dataclasses import dataclass
from typing import Any

JSON = Any
RETRY = {"retry": {"max_attempts": 4, "base_delay": 0.1, "max_delay": 0.5}}


@dataclass(frozen=True)
class Kind:
    """A topology and its configuration, the result it must have, and the accepted steps it takes."""

    name: str
    topology: JSON
    result: JSON
    steps: int
    config: JSON = None


CHAIN = Kind("chain", {"nodes": ["One", "Two", "Three"], "edges": ["One -> Two", "Two -> Three"]}, 3, 3)
FORK = Kind(
    "fork",
    {
        "nodes": ["Boss", "Hand", {"name": "Meet", "is_convergence_point": True}, "Judge"],
        "edges": ["Boss -> Hand", "Hand -> Meet", "Meet <-> Judge"],
    },
    14,
    10,
)
CONVERSATION = Kind("conversation", {"nodes": ["Asker", "Answerer"], "edges": ["Asker <-> Answerer"]}, "agreed", 7)
RETRIES = Kind("retries", {"nodes": ["Flaky"], "edges": []}, "at last", 1, RETRY)
PERSON = Kind("person", {"nodes": ["Clerk"], "edges": []}, "yes", 2)
KINDS = (CHAIN, FORK, CONVERSATION, RETRIES, PERSON)
