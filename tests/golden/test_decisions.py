"""What is decided in runs that together show every kind of event, event by event and row by row.

A sample changes only with a rule, on purpose: delete it, `python -m tests.golden.test_decisions` writes it anew, read
what changed. What is published for ever is in `streams/`.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded
from anabranch_contracts.catalog import EVENTS, decode, encode
from tests.golden.scenarios import SCENARIOS
from tests.simulation.audit import audit
from tests.unit.domain.runs import Run

JSON = Any
FOLDER = Path(__file__).parent / "decisions"
NOBODY = UUID(int=0)
EACH = pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)


def kept(play: Callable[[], Run]) -> JSON:
    """What is stored of a run: its events, and the rows they came to."""
    return orjson.loads((FOLDER / f"{play.__name__}.json").read_bytes())


def written(run: Run) -> JSON:
    """The run as it is stored."""
    recorded = [(r.at, r.actor, *encode(r.event)) for r in run.events]
    events = [[at, actor, kind, version, orjson.loads(data)] for at, actor, kind, version, data in recorded]
    value = {"run_id": run.state.run_id, "events": events, "rows": rows(run.events)}
    return orjson.loads(orjson.dumps(value))


def rows(events: list[Recorded]) -> JSON:
    return orjson.loads(orjson.dumps([[row.table, dict(row.values)] for row in fold_rows(events)]))


def read(sample: JSON) -> list[Recorded]:
    """The stored events, as the store reads them."""
    run_id = UUID(sample["run_id"])
    return [
        Recorded(run_id, i, decode(kind, version, data), datetime.fromisoformat(at), NOBODY, NOBODY, actor)
        for i, (at, actor, kind, version, data) in enumerate(sample["events"], 1)
    ]


@EACH
def test_the_events_come_to_the_same_rows(play: Callable[[], Run]) -> None:
    sample = kept(play)
    assert rows(read(sample)) == sample["rows"]


@EACH
def test_the_same_is_decided(play: Callable[[], Run]) -> None:
    run = play()
    assert written(run)["events"] == kept(play)["events"]
    assert run.replayed() == run.state
    audit(run.events)


def test_every_kind_of_event_is_among_them() -> None:
    kinds = {kind for play in SCENARIOS for _, _, kind, _, _ in kept(play)["events"]}
    assert kinds == EVENTS.keys() - {"RunErased"}, "an operator's, and nobody decides it"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for play in SCENARIOS:
        place = FOLDER / f"{play.__name__}.json"
        if not place.exists():
            value = written(play())
            lines = [b",\n".join(map(orjson.dumps, value[part])) for part in ("events", "rows")]
            place.write_bytes(
                b'{"run_id":"%s","events":[\n%s\n],"rows":[\n%s\n]}\n' % (value["run_id"].encode(), *lines)
            )
