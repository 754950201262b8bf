"""Ratios point the right way, medians are of all rounds, what is missing is told."""

from typing import Any

import pytest
from ops.bench.bars import BARS
from ops.bench.contest import FIGURES
from ops.bench.table import middles, readable, text, undisturbed


def found(*lines: tuple[int, str, str, str, float]) -> dict[str, Any]:
    """A sitting with these figures: round, subject, workload, name, value."""
    told = [{"round": r, "subject": s, "workload": w, "figures": {name: value}} for r, s, w, name, value in lines]
    return {"machine": {"cores": 2, "load": [0.5]}, "args": {"scale": 1.0}, "missing": {}, "found": told}


def row(page: str, title: str, part: str) -> list[str]:
    """The cells of a row, in the table that begins with `part`."""
    (table,) = [t for t in page.split("\n\n") if t.startswith(part)]
    (line,) = [line for line in table.splitlines() if line.startswith(title)]
    return line.removeprefix(title).split()


def test_more_throughput_and_less_time_are_better() -> None:
    page = text(
        found(
            (1, "anabranch", "W1", "steps_per_s", 600.0),
            (1, "dbos", "W1", "steps_per_s", 200.0),
            (1, "anabranch", "W4", "p50_ms", 5.0),
            (1, "dbos", "W4", "p50_ms", 10.0),
        )
    )
    assert row(page, "W1 steps/s", "anabranch is") == ["3.00"]
    assert row(page, "W4 ms, p50", "anabranch is") == ["2.00"]


def test_a_bar_is_reached_or_missed() -> None:
    lines = [(1, "anabranch", "W1", "steps_per_s", 650.0), (1, "floor", "W1", "steps_per_s", 1000.0)]
    lines += [(1, "restate-call", "W1", "steps_per_s", 400.0), (1, "anabranch x2", "W1", "steps_per_s", 630.0)]
    lines += [(1, "anabranch", "W5", "growth", 1.05), (1, "anabranch", "W9", "unfairness", 3.0)]
    lines += [(1, "anabranch", "W7", "fold_events_per_s", 200_000.0)]
    page = text(found(*lines))
    table = next(t for t in page.split("\n\n") if t.startswith("bars"))
    told = {(line.split()[0], line.split()[-1]) for line in table.splitlines()[3:]}
    assert told == {("W1", "reached"), ("W1", "missed"), ("W5", "reached"), ("W7", "reached"), ("W9", "missed")}
    assert [line.split()[-1] for line in table.splitlines()[3:6]] == ["reached", "missed", "reached"]


def test_who_had_the_processor_is_told_by_medians_of_the_rounds() -> None:
    sitting = found(*((r, "anabranch", "W1", "steps_per_s", 600.0) for r in (1, 2, 3)))
    for line, share in zip(sitting["found"], (0.2, 0.3, 0.9), strict=True):
        line["processor"] = {"router": [share], "others": [0.1, 0.1]}
    assert row(text(sitting), "anabranch", "W1: per cent") == ["waiting", "50", "router", "30,", "others", "20"]


def test_medians_are_of_all_rounds_and_the_slope_is_taken_round_by_round() -> None:
    lines = [(r, "floor", "W3b", "ms_per_child", v) for r, v in ((1, 1.0), (2, 2.0), (3, 4.0))]
    lines += [(r, "floor", "W3c", "ms_per_child", v) for r, v in ((1, 2.0), (2, 2.0), (3, 12.0))]
    middle = middles(found(*lines))
    assert middle["floor", "W3b", "ms_per_child"] == 2.0
    assert middle["floor", "W3c", "slope"] == 2.0


def test_who_is_not_installed_and_what_failed_is_told() -> None:
    sitting = found((1, "floor", "W1", "steps_per_s", 1.0))
    sitting["missing"] = {"celery": "no network"}
    sitting["found"].append({"round": 1, "subject": "dbos", "workload": "W1", "failed": "not over in 30 s"})
    page = text(sitting)
    assert "not installed: celery: no network" in page
    assert "dbos failed W1 (200 concurrent runs x 10 steps): not over in 30 s" in page


@pytest.mark.parametrize("bar", BARS, ids=lambda b: f"{b.workload} {b.who} {b.against}")
def test_every_bar_is_about_a_figure(bar: Any) -> None:
    assert (bar.workload, bar.name) in {(f.workload, f.name) for f in FIGURES}


def test_numbers_are_short() -> None:
    assert [readable(v) for v in (171408.2, 99.96, 0.0123)] == ["171,408", "100", "0.0123"]


def test_what_was_measured_beside_strangers_can_be_left_out() -> None:
    sitting = found(*((r, "floor", "W1", "steps_per_s", 100.0 * r) for r in (1, 2, 3)))
    for line, share in zip(sitting["found"], (0.02, 0.5, 0.08), strict=True):
        line["processor"] = {"others": [share]}
    assert middles(undisturbed(sitting, 0.1))["floor", "W1", "steps_per_s"] == 200.0
    page = text(undisturbed(sitting, 0.05))
    assert row(page, "W1 steps/s", "medians") == ["100"] and "; 2 measurements left out" in page
    assert "left out" not in text(undisturbed(sitting, 1.0))
