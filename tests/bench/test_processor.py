"""Who had the processor: a child that works is seen under its module's name, and what limits is told by the shares."""

import subprocess
import sys
from pathlib import Path

import pytest
from ops.bench import processor
from ops.bench.processor import watched
from ops.bench.table import limit

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()\n"


def test_a_process_of_the_subject_counts_under_its_module(tmp_path: Path) -> None:
    (tmp_path / "toiler.py").write_text(BUSY)
    with watched("postgresql://nobody@127.0.0.1/no_such_database") as shares:
        command = [sys.executable, "-m", "toiler", "hard"]
        child = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        assert processor.worked("postgresql://nobody@127.0.0.1/no_such_database") >= 0.3
    child.communicate(b"\n")
    (share,) = shares["toiler hard"]
    assert 0 < share <= 1.05 and processor.OTHERS in shares
    assert sum(map(sum, shares.values())) <= 1.1  # ticks of a hundredth


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["python", "-m", "anabranch.router", ""], "router"),
        (["python", "-m", "ops.bench.subjects.floor", "route", ""], "floor route"),
        (["python", "-m", "celery", "-A", "x", ""], "celery"),
        (["restate-server", "--base-dir", "x", ""], "restate-server"),
    ],
)
def test_processes_have_short_names(words: list[str], kind: str) -> None:
    assert processor._module("restate-server", words) == kind


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        ({"router": [0.45], "RabbitMQ": [0.3], "others": [0.2]}, "the cores"),
        ({"router": [0.48], "RabbitMQ": [0.2]}, "router on one core"),
        ({"router": [0.24, 0.24], "RabbitMQ": [0.2]}, "waiting"),
        ({"RabbitMQ": [0.5], "router": [0.1]}, "waiting"),
        ({}, "waiting"),
    ],
)
def test_what_there_was_too_little_of_is_told(shares: processor.Shares, why: str) -> None:
    assert limit(shares, cores=2) == why
