"""The laws of a run, checked on a world after it came to rest."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from os import environ
from random import Random
from shlex import quote
from typing import Any

import orjson

from anabranch.domain.recorded import Recorded
from anabranch.runtime.memory.store import MemoryStore
from anabranch_contracts import events as e
from anabranch_contracts.config import RunConfig
from tests.simulation.acks import ENDS
from tests.simulation.audit import audit
from tests.simulation.history import History
from tests.simulation.meetings import Meetings
from tests.simulation.outsiders import RUBBISH
from tests.simulation.run import Run, neighbours
from tests.simulation.world import World

JSON = Any
HASHES = f"PYTHONHASHSEED={seed} " if (seed := environ.get("PYTHONHASHSEED")) else ""
TABLES = ("run_rows", "branch_rows", "step_rows", "convergences", "timers", "user_requests", "checkpoints")
LATE = ("is not open", "checkpoint 'before")
LONGEST_LIMIT = RunConfig().max_rate_limit_wait
COMPARED = ("run_rows", "branch_rows", "step_rows", "convergences")
TIMING = {
    "version", "requested_version", "result_version", "finished_version", "requested_at", "started_at",
    "finished_at", "spawned_at", "opened_at", "fired_at", "due_at", "wait_time", "convergence_wait_time",
    "parallel_branches", "worker", "answered_at", "run_id", "forked_from", "forked_at_version",
}  # fmt: skip


class Violation(AssertionError):
    """A law is broken; says how, and how to see it again."""

    def __init__(self, case: "Case", cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}\n{case.replay}")
        self.case = case
        self.cause = cause


def recorded(run: Run | World) -> list[Recorded]:
    """The run's whole stream (a world's first)."""
    return list(run.store.streams[run.run_id])


def one_outcome(events: Iterable[Recorded]) -> None:
    """Law 3: one terminal event per run, one accepted reply per step, one firing per convergence, one answer."""
    ends = [r for r in events if isinstance(r.event, ENDS)]
    assert len(ends) == 1, f"{len(ends)} terminal events"
    after = {type(r.event).__name__ for r in events if r.version > ends[0].version}
    assert after <= {"StepResultDiscarded", "CheckpointCreated", "RunForked", "OutcomeAwaited"}, (
        f"after the end: {after}"
    )
    accepted = [r.event.step_id for r in events if isinstance(r.event, e.StepCompleted)]
    assert len(accepted) == len(set(accepted)), "a step was accepted twice"
    fired = [r.event.convergence_id for r in events if isinstance(r.event, e.BranchConverged)]
    assert len(fired) == len(set(fired)), "a convergence fired twice"
    answered = [r.event.request_id for r in events if isinstance(r.event, e.UserInputProvided)]
    assert len(answered) == len(set(answered)), "a user request was answered twice"


def nothing_starts_while_paused(events: Iterable[Recorded]) -> None:
    """Between pause and resume no step is requested."""
    paused = False
    for r in events:
        paused = isinstance(r.event, e.RunPaused) or (paused and not isinstance(r.event, e.RunResumed | e.RunForked))
        assert not (paused and isinstance(r.event, e.StepRequested)), f"version {r.version} started while paused"


def replays(world: World) -> None:
    """Law 4: counters, the states that processes kept, and all rows are what the events fold to; no gap in them."""
    folded: dict[str, dict[Any, JSON]] = {name: {} for name in TABLES}
    for run in world.runs:
        events = run.recorded
        assert [r.version for r in events] == list(range(1, len(events) + 1))
        rows = audit(events, [kept for kept in world.states if kept.run_id == run.run_id])
        for (table, key), values in rows.items():
            folded[table][key] = values
    for name in TABLES:
        assert world.store.tables[name] == folded[name], f"{name} differs from its replay"


def nothing_live(world: World) -> None:
    """A finished run leaves no branch, step, timer or convergence open."""
    tables = world.store.tables
    assert all(r["finished_at"] is not None for r in tables["branch_rows"].values())
    assert all(r["status"] not in ("requested", "waiting") for r in tables["step_rows"].values())
    assert all(r["due_at"] is None for r in tables["timers"].values())
    assert all(r["status"] != "open" for r in tables["convergences"].values())
    assert all(r["status"] != "open" for r in tables["user_requests"].values())


def nothing_is_lost(world: World) -> None:
    """What was acked was done, no queue holds more, outcomes are told; only rubbish and late words are parked."""
    odd = [r for d, r in world.ledger.parked if d.body not in RUBBISH and not any(known in r for known in LATE)]
    assert not odd, odd
    lost = list(world.ledger.lost({str(run.run_id): run.recorded for run in world.runs}))
    assert not lost, lost
    assert not world.waiting(), f"left in queues: {world.waiting()}"
    assert not world.misheard, world.misheard
    unheard = [run.run_id for run in world.runs if run.outsiders.wants_outcome and not world.ledger.told(run.run_id)]
    assert world.wiped or not unheard, f"nobody was told the outcome of {unheard}"


def outcome(run: Run | World) -> JSON:
    """What no schedule may change: the status; and of completed runs every row and the result."""
    if run.status != "completed":
        return run.status
    tables = [sorted(repr(_timeless(row)) for row in run.rows(name)) for name in COMPARED]
    requests = sorted(
        repr((r.event.step_id, r.event.attempt, r.event.request))
        for r in recorded(run)
        if isinstance(r.event, e.StepRequested)
    )
    result = [r.event for r in recorded(run) if isinstance(r.event, e.RunCompleted)]
    return run.status, tables, requests, result


def poisoned(run: Run) -> bool:
    """Whether so many workers were lost with a step that it was given up: that is an outcome of its own."""
    return any(isinstance(r.event, e.StepFailed) and r.event.error["kind"] == "poison" for r in recorded(run))


def limited_too_long(run: Run) -> bool:
    """Whether a step was limited for longer than its run waits: a clock decides that, and a person what comes of it."""
    since: dict[str, datetime] = {}
    for r in recorded(run):
        if isinstance(r.event, e.StepFailed) and r.event.error["kind"] == "rate_limit":
            lasted = (r.at - since.setdefault(r.event.step_id, r.at)).total_seconds()
            if lasted >= LONGEST_LIMIT:
                return True
    return False


def differences(one: JSON, calm: JSON) -> list[JSON]:
    """What is in one outcome and not in the other."""
    if isinstance(one, str) or isinstance(calm, str):
        return [] if one == calm else [one, calm]
    pairs = [(a, b) for a, b in zip([*one[1], *one[2:]], [*calm[1], *calm[2:]], strict=True) if a != b]
    return [([x for x in a if x not in b], [x for x in b if x not in a]) for a, b in pairs]


def _timeless(row: JSON) -> list[tuple[str, JSON]]:
    return sorted((k, v) for k, v in row.items() if k not in TIMING)


def lawful(world: World) -> None:
    """Raises where a law is broken that holds in every world."""
    for run in world.runs:
        events = run.recorded
        one_outcome(events)
        nothing_starts_while_paused(events)
        if isinstance(events[0].event, e.RunStarted):
            History(events[0].event, exact=not world.spread).read(events)
            Meetings().read(events)
    replays(world)
    nothing_live(world)
    nothing_is_lost(world)


@dataclass(frozen=True, slots=True)
class Case:
    """One world and the calm one it is measured by; as JSON it is what replays a finding.

    `at` set = it starts from that version of the calm one. Without topology and config the seed draws them.
    """

    seed: int
    schedule: int
    calm: int
    faulty: bool = True
    at: int | None = None
    only: list[int] | None = None
    topology: JSON = None
    config: JSON = None
    beside: int = 0

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        said = {k: v for k, v in asdict(self).items() if v is not None}
        return f"{HASHES}python -m tests.simulation --case {quote(orjson.dumps(said).decode())}"


@dataclass
class Tally:
    """What was played."""

    runs: int = 0
    events: int = 0
    steps: list[int] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, world: World) -> None:
        """The runs of one more world."""
        for run in world.runs:
            events = run.recorded
            self.runs += 1
            self.events += len(events)
            self.steps.append(sum(type(r.event) is e.StepCompleted for r in events))
            self.statuses[run.status] += 1
        self.faults.update(world.faults.seen)
        self.seen.update(world.seen)

    def __iadd__(self, other: "Tally") -> "Tally":
        self.runs, self.events = self.runs + other.runs, self.events + other.events
        self.steps += other.steps
        self.statuses.update(other.statuses)
        self.faults.update(other.faults)
        self.seen.update(other.seen)
        return self


def calmly(case: Case) -> World:
    """The case's topology without faults."""
    return World(case.seed, case.calm, False, case.topology, case.config, beside=case.beside).play()


def judged(case: Case, calm: World) -> World:
    """Play the case's world and judge it; raises `Violation`."""
    try:
        world = calm
        if case.at is not None:
            world = forks(calm, case.at, case.schedule, case.faulty, case.only)
        elif case.faulty:
            drawn = case.topology, case.config, None, case.only
            world = World(case.seed, case.schedule, True, *drawn, beside=case.beside).play()
        lawful(world)
        for run, quiet in zip(world.runs, calm.runs, strict=True):
            if not (run.loose or run.outsiders.disturbed or poisoned(run) or limited_too_long(run)):
                assert not (found := differences(outcome(run), outcome(quiet))), found
    except Exception as broken:  # a law, or a defect anywhere on the way
        raise Violation(case, broken) from broken
    return world


def forks(calm: World, at: int, schedule: int, faulty: bool, only: Sequence[int] | None = None) -> World:
    """Law of forks: from any version the rest comes out the same, and no completed step is asked again."""
    events = recorded(calm)
    store = MemoryStore(streams={calm.run_id: events})
    fork = {"run_id": str(calm.run_id), "at": at}
    drawn = calm.topology, calm.config, fork, only, store, calm.beside
    world = type(calm)(calm.seed, schedule, faulty, *drawn).play()
    done = {r.event.step_id for r in events[:at] if isinstance(r.event, e.StepCompleted)}
    begun = next(r.version for r in recorded(world) if isinstance(r.event, e.RunForked))
    again = [r.event for r in recorded(world)[begun:] if isinstance(r.event, e.StepRequested)]
    assert not done & {event.step_id for event in again}, "a completed step was asked again"
    return world


def check(seed: int, schedule: int, tally: Tally | None = None) -> None:
    """One topology calmly, once with faults, once from a point of its past; raises `Violation`."""
    tally = tally if tally is not None else Tally()
    beside = neighbours(seed)
    first = Case(seed, schedule, schedule, faulty=False, beside=beside)
    try:
        calm = calmly(first)
    except Exception as broken:
        raise Violation(first, broken) from broken
    cases = [first, Case(seed, schedule + 1, schedule, beside=beside)]
    if calm.status != "rejected":
        at = Random(schedule).randint(1, len(recorded(calm)))
        cases.append(Case(seed, schedule + 4, schedule, bool(schedule % 2), at, beside=beside))
    for case in cases:
        tally.add(judged(case, calm))
