"""Whatever a test does with a run, each counter of its state is the count and no row is stale."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulation.audit import audit
from tests.unit.domain.runs import Run


@pytest.fixture(autouse=True)
def audited(monkeypatch: Any) -> Iterator[None]:
    played: dict[int, Run] = {}
    tell = Run.tell

    def keep(run: Run, decider: Any, message: Any) -> list[Any]:
        played[id(run)] = run
        return tell(run, decider, message)

    monkeypatch.setattr(Run, "tell", keep)
    yield
    for run in played.values():
        if run.events:
            audit(run.events)
