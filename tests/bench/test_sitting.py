"""A subject that is wrong, slow or dead has no figures, the reason is told, and the rest is measured all the same."""

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from select import select

import pytest
from ops.bench import compare, table
from ops.bench.compare import Sitting, missing
from ops.bench.contest import OWN, SUBJECTS, Entry


@pytest.fixture
def sitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sitting:
    """About the odd subject, which needs no services."""
    monkeypatch.setattr(compare, "place", lambda *_: nullcontext({"BENCH_MARKS": str(tmp_path / "marks")}))
    args = argparse.Namespace(subjects=["odd"], workloads=["W2", "W4"], scale=0.04, patience=1.0)
    return Sitting(args, "", "", machine={"cores": 2, "load": [0.0]})


@pytest.fixture
def children(tmp_path: Path) -> Path:
    return tmp_path / "children"


def odd(how: str, children: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the subject be odd in this way."""
    environment = {"BENCH_ODD": how, "BENCH_ODD_CHILDREN": str(children)}
    monkeypatch.setitem(SUBJECTS, "odd", Entry("tests.bench.odd", OWN, environment=environment))


def gone(pid: int) -> bool:
    """Whether the process has ended, or does within seconds."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select([process], [], [], 10)[0])
    finally:
        os.close(process)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("wrong", "Wrong: results are [4, 4], not [3, 3]"),
        ("twice", "Wrong: agents ran 10 times for 8 steps"),
        ("never", "not over in 1 s"),
        ("dies", "ended early: no more memory"),
    ],
)
def test_what_is_wrong_has_no_figures_and_the_rest_has(
    sitting: Sitting, children: Path, monkeypatch: pytest.MonkeyPatch, how: str, why: str
) -> None:
    odd(how, children, monkeypatch)
    sitting.round(1)
    told = {line["workload"]: line for line in sitting.found}
    assert told["W2"]["failed"] == why
    assert set(told["W4"]["figures"]) == {"p50_ms", "p99_ms"}
    assert f"odd failed W2 (20 concurrent runs of 1 -> 50 -> 1): {told['W2']['failed']}" in table.text(report(sitting))


def report(sitting: Sitting) -> dict[str, object]:
    return {
        "machine": sitting.machine,
        "args": vars(sitting.args),
        "missing": sitting.missing,
        "found": sitting.found,
    }


def test_what_was_given_up_is_not_tried_again(
    sitting: Sitting, children: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd("wrong", children, monkeypatch)
    sitting.round(1)
    sitting.round(2)
    assert sorted((line["round"], line["workload"]) for line in sitting.found) == [(1, "W2"), (1, "W4"), (2, "W4")]


def test_one_that_never_starts_is_tried_twice(
    sitting: Sitting, children: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "STARTING", 0.5)
    sitting.args.workloads = ["W1", "W2", "W4", "W5"]
    sitting.args.patience = 0.2
    odd("mute", children, monkeypatch)
    sitting.round(1)
    reasons = [line["failed"].partition(":")[0] for line in sitting.found]
    assert reasons == ["ended early", "ended early", "not tried after these", "not tried after these"]


@pytest.mark.parametrize("how", ["right", "never", "dies"])
def test_nothing_that_a_subject_started_is_left(
    sitting: Sitting, children: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    odd(how, children, monkeypatch)
    sitting.round(1)
    pids = [int(line) for line in children.read_text().split()]
    assert pids and all(gone(pid) for pid in pids)


def test_a_subject_that_is_not_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUBJECTS, "absent", Entry("tests.bench.odd", OWN, needs="no_such_library"))
    assert missing(["absent", "anabranch"]) == {"absent": "ModuleNotFoundError: No module named 'no_such_library'"}
