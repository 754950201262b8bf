"""Runs and branches whose steps are wanted no longer, as the signals said; the newest are remembered."""

from collections import OrderedDict
from typing import Any

import orjson

from anabranch_contracts.messages import StepRequested

REMEMBERED = 10_000


class Stops:
    """What was stopped: whole runs (branch None) and single branches."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    def add(self, signal: bytes) -> None:
        """Take a signal; one that cannot be read is none."""
        try:
            body = orjson.loads(signal)
            branches: list[Any] = body.get("branch_ids", [None])
            for branch_id in branches:
                self._known[str(body["run_id"]), branch_id] = None
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            return
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def unwanted(self, step: StepRequested) -> bool:
        """Whether the step was stopped."""
        if not self._known:
            return False
        run_id = str(step.run_id)
        return (run_id, None) in self._known or (run_id, step.branch_id) in self._known
