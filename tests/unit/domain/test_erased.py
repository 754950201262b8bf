"""A run that was erased has an outcome and a shape, and nothing more to give."""

from typing import Any
from uuid import UUID

import pytest

from anabranch.domain.deciders import Router
from anabranch.domain.intake import Request
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts.events import RunErased
from tests.unit.domain.runs import RUN, Run

JSON = Any
BODY: JSON = {"task": "task", "topology": {"nodes": ["A"]}, "config": {}, "context": {}}


@pytest.fixture
def run() -> Run:
    """One that is over, and erased as the database does it."""
    run = Run({"nodes": ["A"]})
    run.reply("A", "a")
    turn = Turn(run.state, run.now, UUID(int=99), "operator")
    turn.record(RunErased(upto=run.state.version))
    run.events += turn.events
    return run


def test_it_is_still_over(run: Run) -> None:
    (row,) = run.rows("run_rows")
    assert row["status"] == "completed" and row["version"] == len(run.events)
    assert run.state.erased and run.replayed() is not None


def test_asked_for_again_it_says_so(run: Run) -> None:
    with pytest.raises(Refused, match="was erased; use a new run_id"):
        run.tell(Router(), Request(RUN, BODY, "queue"))


@pytest.mark.parametrize("at", [1, 3, "b0#1"])
def test_nobody_goes_on_from_it(run: Run, at: JSON) -> None:
    with pytest.raises(Refused, match="was erased: its past tells nothing"):
        run.fork(at)
