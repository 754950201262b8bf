"""W3C trace context, carried from a message to what it causes; what could be none is left behind."""

from collections.abc import Mapping
from typing import Any

NAMES = ("traceparent", "tracestate")
LONGEST = 512


def carried(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers that go on; one that is too long to be a trace would make every message that follows too large."""
    found = {name: headers.get(name) for name in NAMES}
    return {name: value for name, value in found.items() if isinstance(value, str) and len(value) <= LONGEST}
