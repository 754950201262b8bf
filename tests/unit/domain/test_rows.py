"""Law 4: what the tables say of a run, drawn from its events alone."""

import pytest

from tests.unit.domain.runs import Run


@pytest.mark.parametrize(
    ("time", "kept"),
    [
        ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00+00:00"),
        ("yesterday", None),
        ("2026-01-01T00:00:00", None),
        ("0001-01-01T00:00:00+05:00", None),
    ],
)
def test_a_workers_clock_that_cannot_be_read_is_left_out(time: str, kept: str | None) -> None:
    run = Run({"nodes": ["A"]})
    run.late(run.at("A"), response="a", started_at=time)
    (row,) = run.rows("step_rows")
    assert (row["started_at"] and row["started_at"].isoformat()) == kept
