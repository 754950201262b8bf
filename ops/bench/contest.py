"""Who is compared, on what, and which figures come of it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN, PEERS = Path(sys.executable), ROOT / ".venv-bench/bin/python"
OURS, HERE = "anabranch", "ops.bench.subjects"


@dataclass(frozen=True, slots=True)
class Entry:
    """A subject: its module and interpreter, what it needs to be importable, and the workloads it can do."""

    module: str
    python: Path = PEERS
    needs: str = "asyncio"
    environment: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ("W7", "W8")

    def can(self, workload: str) -> bool:
        return workload not in self.lacks


def _replicas(count: int) -> Entry:
    """More processes of each kind, for throughput alone."""
    others = tuple(w for w in WORKLOADS if w != "W1")
    return Entry(f"{HERE}.anabranch_distributed", OWN, environment={"BENCH_REPLICAS": str(count)}, lacks=others)


WORKLOADS = {
    "W1": "200 concurrent runs x 10 steps",
    "W2": "20 concurrent runs of 1 -> 50 -> 1",
    "W3a": "one run of 1 -> 100 -> 1",
    "W3b": "one run of 1 -> 1,000 -> 1",
    "W3c": "one run of 1 -> 10,000 -> 1",
    "W4": "one chain of 200 steps, step to step",
    "W5": "one conversation of 500 turns",
    "W6": "one-step run at half load, request to result",
    "W7": "replay of the log, rebuild of the tables",
    "W8": "10,000 runs wait for a person",
    "W9": "one-step run beside a run of 1 -> 10,000 -> 1, request to result",
}
ONCE = ("W8",)  # long, and not a matter of chance
SUBJECTS = {
    OURS: Entry(f"{HERE}.anabranch_distributed", OWN, lacks=()),
    "embedded": Entry(f"{HERE}.anabranch_embedded", OWN, lacks=("W8",)),
    "floor": Entry(f"{HERE}.floor", OWN, lacks=("W8",)),
    "dbos": Entry(f"{HERE}.dbos", needs="dbos"),
    "langgraph": Entry(f"{HERE}.langgraph", needs="langgraph.checkpoint.postgres"),
    "celery": Entry(f"{HERE}.celery", needs="celery"),
    "restate": Entry(f"{HERE}.restate", needs="restate"),
    "restate-call": Entry(f"{HERE}.restate", needs="restate", environment={"BENCH_VARIANT": "call"}),
    "anabranch x2": _replicas(2),
    "anabranch x4": _replicas(4),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """What is read off a workload; `more` = more is better."""

    workload: str
    name: str
    label: str
    more: bool = False

    def ahead(self, ours: float, theirs: float) -> float:
        """How many times better ours is."""
        better, worse = (ours, theirs) if self.more else (theirs, ours)
        return better / worse if worse else float("inf")


FIGURES = (
    Figure("W1", "steps_per_s", "steps/s", more=True),
    Figure("W2", "steps_per_s", "steps/s", more=True),
    Figure("W3a", "ms_per_child", "ms a child"),
    Figure("W3b", "ms_per_child", "ms a child"),
    Figure("W3c", "ms_per_child", "ms a child"),
    Figure("W3c", "slope", "slope 10,000 / 1,000"),
    Figure("W4", "p50_ms", "ms, p50"),
    Figure("W4", "p99_ms", "ms, p99"),
    Figure("W5", "ms_per_turn", "ms a turn"),
    Figure("W5", "growth", "last 50 turns / first 50"),
    Figure("W5", "processor_growth", "processor, last 50 / first 50"),
    Figure("W5", "bytes_per_turn", "bytes a turn"),
    Figure("W5", "bytes_growth", "bytes, second half / first"),
    Figure("W6", "p50_ms", "ms, p50"),
    Figure("W6", "p99_ms", "ms, p99"),
    Figure("W7", "read_events_per_s", "events/s read and decoded", more=True),
    Figure("W7", "fold_events_per_s", "events/s folded", more=True),
    Figure("W7", "rebuild_events_per_s", "events/s rebuilt", more=True),
    Figure("W8", "bytes_per_run", "bytes a run"),
    Figure("W8", "cpu_per_mille", "CPU, 1/1000 core"),
    Figure("W9", "idle_ms", "ms alone, p95"),
    Figure("W9", "beside_ms", "ms beside, p95"),
    Figure("W9", "unfairness", "p95 beside / alone"),
)
