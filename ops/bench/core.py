"""Law 7 in the pure core: microseconds to decide one step, as runs of a shape grow; no store, no broker.

`python -m ops.bench.core` prints, for each shape and size, the median of three rounds and the ratio to the smallest.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.unit.domain.runs import Run

from anabranch.domain.deciders import Router, Supervisor
from anabranch_contracts.messages import RecoverRun, StepCompleted

JSON = Any
SIZES = (100, 400, 1600)
ROUNDS = 3
PROCEED = {"on_insufficient": "proceed"}


def say(run: Run, branch_id: str, response: JSON) -> None:
    """The branch's first step is answered, and the supervisor woken, as in production."""
    ids = {"run_id": run.state.run_id, "branch_id": branch_id, "step_id": f"{branch_id}#1", "attempt": 1}
    run.tell(Router(), StepCompleted(**ids, response=response))
    run.tell(Supervisor(), RecoverRun(run_id=run.state.run_id))
    run.events.clear()


def timed(work: Callable[[int], None], count: int) -> float:
    """Microseconds for each of `count`."""
    began = time.perf_counter()
    for i in range(count):
        work(i)
    return 1e6 * (time.perf_counter() - began) / count


def siblings(size: int) -> float:
    """Children of one fork come back."""
    run = Run({"nodes": ["Hub", "Spoke"], "edges": ["Hub <-> Spoke"], "entry": "Hub"})
    calls = [{"agent": "Spoke", "request": i} for i in range(size)]
    run.reply("Hub", {"next_action": "parallel_invoke", "invocations": calls})
    return timed(lambda i: say(run, f"b0.f1.b{i}", "done"), size)


def borne_failures(size: int) -> float:
    """In each of many inner forks one child fails, which the fork around them can bear."""
    run = Run({"nodes": ["Top", "Mid", "L", "R"], "edges": ["Top <-> Mid", "Mid <-> L", "Mid <-> R"], "entry": "Top"})
    calls = [{"agent": "Mid", "request": i} for i in range(size)]
    run.reply("Top", {"next_action": "parallel_invoke", "invocations": calls, "convergence": PROCEED})
    for i in range(size):
        say(run, f"b0.f1.b{i}", {"next_action": "parallel_invoke", "agents": ["L", "R"]})
    return timed(lambda i: say(run, f"b0.f1.b{i}.f1.b0", {"next_action": "terminal_error", "error": "no"}), size)


def lanes(size: int) -> float:
    """Many pairs of agents, each pair meeting at a convergence node of its own: the topology grows, too."""
    names = [[f"{kind}{i}" for i in range(size)] for kind in ("fast", "slow", "meet")]
    fast, slow, meet = names
    edges = [f"Top -> {n}" for n in (*fast, *slow)]
    edges += [f"{n} -> {m}" for lane in (fast, slow) for n, m in zip(lane, meet, strict=True)]
    run = Run({"nodes": [{"name": "Top", "dispatch": "all"}, *fast, *slow, *meet], "edges": edges})
    run.reply("Top", "go")
    return timed(lambda i: say(run, f"b0.f1.b{i}", "parked"), size)


def main() -> None:
    """Measure every shape at every size."""
    print(f"{'shape':16}" + "".join(f"{size:>10}" for size in SIZES) + "     ratio")
    for shape in (siblings, borne_failures, lanes):
        found = [median(shape(size) for _ in range(ROUNDS)) for size in SIZES]
        row = "".join(f"{one:>7.0f} us" for one in found)
        print(f"{shape.__name__:16}{row}{found[-1] / found[0]:>10.2f}")


if __name__ == "__main__":
    main()
