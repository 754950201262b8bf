"""The bars of the project, in one place: what is to be reached against others, and what a figure is to be by itself."""

from dataclasses import dataclass

from ops.bench.contest import FIGURES, OURS, Figure
from ops.bench.subjects.agent import said

REPLY = len(said(0))


@dataclass(frozen=True, slots=True)
class Bar:
    """`who` is to be `bound` times better than `against`; where that is nobody, its figure is not to be worse."""

    workload: str
    name: str
    bound: float
    against: str | None = None
    who: str = OURS

    @property
    def figure(self) -> Figure:
        """What is read off."""
        return next(f for f in FIGURES if (f.workload, f.name) == (self.workload, self.name))

    @property
    def least(self) -> bool:
        """Whether the bound is a lower one."""
        return self.against is not None or self.figure.more

    def reached(self, value: float) -> bool:
        """Whether the ratio, or the figure, is on the right side."""
        return value >= self.bound if self.least else value <= self.bound


BARS = (
    Bar("W1", "steps_per_s", 0.6, "floor"),
    Bar("W1", "steps_per_s", 1.7, "restate-call"),
    Bar("W2", "steps_per_s", 1.7, "restate-call"),
    Bar("W3b", "ms_per_child", 1.7, "restate-call"),
    *(
        Bar(f.workload, f.name, 3.0, against)
        for f in FIGURES
        for against in ("dbos", "celery")
        if f.name in ("steps_per_s", "ms_per_child")
    ),
    Bar("W1", "steps_per_s", 3.0, "langgraph"),
    Bar("W2", "steps_per_s", 1.5, "langgraph"),
    Bar("W2", "steps_per_s", 2.0, "langgraph", who="embedded"),
    Bar("W1", "steps_per_s", 1.0, "restate", who="embedded"),
    Bar("W4", "p50_ms", 1 / 1.5, "floor"),
    Bar("W4", "p50_ms", 1.0, "restate-call"),
    Bar("W4", "p50_ms", 1.0, "celery"),
    Bar("W4", "p50_ms", 1.0, "langgraph", who="embedded"),
    Bar("W1", "steps_per_s", 0.95, OURS, who="anabranch x2"),
    Bar("W1", "steps_per_s", 0.95, OURS, who="anabranch x4"),
    Bar("W3c", "slope", 1.3),
    Bar("W5", "growth", 1.1),
    Bar("W5", "processor_growth", 1.1),
    Bar("W5", "bytes_growth", 1.1),
    Bar("W5", "bytes_per_turn", 2 * (4 * REPLY + 1024)),  # a turn here is two replies
    Bar("W7", "fold_events_per_s", 100_000),
    Bar("W7", "rebuild_events_per_s", 20_000),
    Bar("W8", "bytes_per_run", 1024),
    Bar("W8", "cpu_per_mille", 10),
    Bar("W9", "unfairness", 2.0),
    Bar("W9", "unfairness", 2.0, who="embedded"),
)
