"""Whatever a test does with a run, each counter of its state is the count and no row is stale."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulation.audit import audit
from tests.unit.domain.runs import Run


@pytest.fixture(autouse=True)
def audited(monkeypatch: Any) -> Iterator[None]:
    made: list[Run] = []
    play = Run.__init__

    def keep(run: Run, *given: Any, **more: Any) -> None:
        made.append(run)
        play(run, *given, **more)

    monkeypatch.setattr(Run, "__init__", keep)
    yield
    for run in made:
        if run.events:
            audit(run.events)
