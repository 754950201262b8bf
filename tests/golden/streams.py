"""Golden streams: whole runs as they were stored, and the rows they were folded to when they were published.

`events/` has one sample of each shape; here every shape stands where it belongs in a run, so that its meaning is
tested and not only its spelling.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded
from anabranch_contracts.catalog import decode, encode

JSON = Any
GOLDEN = Path(__file__).parent
FOLDER = GOLDEN / "streams"
PUBLISHED = GOLDEN / "published.sha256"
KEYS = {
    "run_rows": "run_id",
    "branch_rows": "branch_id",
    "step_rows": "step_id",
    "convergences": "convergence_id",
    "timers": "timer_id",
    "user_requests": "request_id",
    "checkpoints": "checkpoint_id",
}


def paths() -> list[Path]:
    """`<name>.json`, one for each run."""
    return sorted(FOLDER.glob("*.json"))


def stored(path: Path) -> JSON:
    """The file: `run_id`, `events` as they were written, `rows` by table and key."""
    return orjson.loads(path.read_bytes())


def shapes(path: Path) -> set[tuple[str, int]]:
    """Type and schema version of every event in the file."""
    return {(one["type"], one["schema_version"]) for one in stored(path)["events"]}


def recorded(stream: JSON) -> list[Recorded]:
    """The events as today's code reads them."""
    return [_recorded(UUID(stream["run_id"]), version, one) for version, one in enumerate(stream["events"], 1)]


def _recorded(run_id: UUID, version: int, one: JSON) -> Recorded:
    event = decode(one["type"], one["schema_version"], one["data"])
    caused = UUID(one["causation_id"])
    return Recorded(run_id, version, event, datetime.fromisoformat(one["at"]), UUID(int=version), caused, one["actor"])


def rows(events: Iterable[Recorded]) -> dict[str, dict[str, JSON]]:
    """What the events fold to, as JSON, by table and key."""
    found: dict[str, dict[str, JSON]] = {table: {} for table in KEYS}
    for row in fold_rows(events):
        found[row.table][str(row.values[KEYS[row.table]])] = orjson.loads(orjson.dumps(dict(row.values), default=str))
    return found


def migrated(rows: dict[str, dict[str, JSON]]) -> dict[str, dict[str, JSON]]:
    """Rows of their day as migrations have them since: a step that was only asked for is its branch's to tell."""
    for key, step in list(rows["step_rows"].items()):
        if (step["status"], step["attempt"]) == ("requested", 1):
            rows["branch_rows"][step["branch_id"]]["result_version"] = step["requested_version"]
            del rows["step_rows"][key]
    return rows


def written(events: list[Recorded]) -> bytes:
    """The file of a run, one event a line."""
    lines = ",\n".join(_line(one).decode() for one in events)
    folded = orjson.dumps(rows(events)).decode()
    return f'{{"run_id":"{events[0].run_id}","events":[\n{lines}\n],"rows":{folded}}}\n'.encode()


def _line(one: Recorded) -> bytes:
    kind, version, data = encode(one.event)
    return orjson.dumps({
        "type": kind, "schema_version": version, "data": orjson.Fragment(data), "at": one.at,
        "causation_id": one.causation_id, "actor": one.actor,
    })  # fmt: skip


def published() -> dict[str, str]:
    """SHA-256 by file, of everything that was ever published."""
    lines = (line.split("  ") for line in PUBLISHED.read_text().splitlines())
    return {name: digest for digest, name in lines}


def there() -> Iterator[tuple[str, str]]:
    """File and SHA-256 of every sample and stream."""
    for path in sorted([*(GOLDEN / "events").glob("*.json"), *paths()]):
        yield str(path.relative_to(GOLDEN)), sha256(path.read_bytes()).hexdigest()
