"""Calls from inside an agent's code, made durable by running the code again.

The first call without a recorded result ends the attempt: `Suspended` unwinds the agent, and what it asked for
becomes the step's reply. When that has come back, the step is requested again with the results so far; the code
runs from its beginning, its earlier calls return at once what is recorded, and it gets one call further. So the
process may die in between, and finished calls are not repeated. What the code does besides must be repeatable.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from anabranch_contracts.errors import InvocationFailed

JSON = Any
MARKED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


class Suspended(BaseException):
    """Unwinds an agent that waits for a call; no error, so no `except Exception` stops it."""


class NondeterministicAgent(Exception):
    """Run again, the agent made other calls than before."""


class Calls:
    """The calls of one attempt; `waiting` is the reply that asks for the first one without a result."""

    def __init__(self, recorded: Sequence[Mapping[str, JSON]]) -> None:
        self._recorded = recorded
        self._made = 0
        self.waiting: dict[str, JSON] | None = None

    async def invoke(self, invocations: list[dict[str, JSON]], timeout: float | None) -> list[dict[str, JSON]]:
        """What became of each invocation, as records."""
        who = [str(i.get("agent", i.get("agent_name"))) for i in invocations]
        records: list[dict[str, JSON]] = self._result(
            who, invocations, {"invocations": invocations, "timeout": timeout}
        )
        return records

    async def ask(self, question: dict[str, JSON]) -> JSON:
        """A person's answer."""
        return self._result(["User"], question["prompt"], {"ask": question})

    def _result(self, who: list[str], what: JSON, body: dict[str, JSON]) -> JSON:
        if self.waiting is not None:
            raise Suspended  # another call of this attempt is waited for first
        self._made += 1
        mark = sha256(orjson.dumps(what, option=MARKED, default=_plain)).hexdigest()[:16]
        if self._made <= len(self._recorded):
            known = self._recorded[self._made - 1]
            if known["print"] != mark:
                raise NondeterministicAgent(
                    f"call {self._made}, to {', '.join(who[:5])}, is another than the agent made when it ran before; "
                    "what differs from run to run (a model's words, the time) belongs into an agent that is called"
                )
            return known["value"]
        self.waiting = {"next_action": "call", "number": self._made, "print": mark, **body}
        raise Suspended


def _plain(value: Any) -> JSON:
    """What is no JSON, as it is in every process."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def values(records: Sequence[dict[str, JSON]], return_exceptions: bool) -> list[JSON]:
    """The results in order; raises `InvocationFailed` unless failures are wanted in their places."""
    if not return_exceptions and any(r["status"] != "completed" for r in records):
        raise InvocationFailed(list(records))
    return [r["result"] if r["status"] == "completed" else InvocationFailed([r]) for r in records]
