"""From the shape of a schema version to the next, by (type, version)."""

from collections.abc import Callable
from functools import partial
from typing import Any

Data = dict[str, Any]


def _gained(data: Data, /, **fields: Any) -> Data:
    """The next version has more fields; what was stored before means these values."""
    return {**data, **fields}


UPCASTERS: dict[tuple[str, int], Callable[[Data], Data]] = {
    ("ForkOpened", 1): partial(_gained, returns=False, inherit_memory=False),
    ("StepFailed", 1): partial(_gained, response=None, started_at=None, finished_at=None, worker=None, usage=None),
    ("StepRetryScheduled", 1): partial(_gained, request=None),
}
"""One function per (type, version) that is no longer written."""
