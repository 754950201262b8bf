"""How much may come together. What one message carries is bounded at the door; what a rule would multiply, here.

One reply can name 100,000 agents and give all of them the same request, or be one of 100,000 that meet: without a
bound a few bytes of a model's reply would fill the disk, and what no database row can hold would stop its run.
"""

from collections.abc import Iterable
from typing import Any

import orjson

JSON = Any
MAX_CONTEXT = 256 * 1024  # it goes with every step
MAX_LABELS = 64 * 1024
MAX_QUESTION = 1024 * 1024
MAX_TOGETHER = 64 * 1024 * 1024
REFERENCE = "hand over references"


def size(value: JSON) -> int:
    """Bytes of a value as JSON."""
    return len(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))


def together(values: Iterable[JSON]) -> int:
    """Bytes of all of them; what many share counts for each of them, and is looked at once."""
    known: dict[int, int] = {}
    held = list(values)  # identities hold as long as the values do
    return sum(known[id(one)] if id(one) in known else known.setdefault(id(one), size(one)) for one in held)


def too_much(what: str, bytes_: int, limit: int) -> str | None:
    """What to say of something that is larger than it may be; None of what is not."""
    return None if bytes_ <= limit else f"{what} {bytes_} bytes, the limit is {limit}; {REFERENCE}"


def too_large_together(records: Iterable[dict[str, JSON]]) -> str | None:
    """Why results cannot be handed over in one piece; None where they can."""
    return too_much("all results together have", together(r.get("result") for r in records), MAX_TOGETHER)


def affordable(records: list[dict[str, JSON]]) -> list[dict[str, JSON]]:
    """The records; where results are too large together, each says so instead of what it brought."""
    why = too_large_together(records)
    if why is None:
        return records
    error = {"kind": "terminal", "type": "ResultsTooLarge", "message": why}
    return [{**_without_result(r), "status": "failed", "error": error} if "result" in r else r for r in records]


def _without_result(record: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in record.items() if name != "result"}
