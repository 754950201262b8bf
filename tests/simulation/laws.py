"""The laws of a run, checked on a world after it came to rest."""

from collections.abc import Iterable
from random import Random
from typing import Any

from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded
from anabranch.runtime.memory.store import MemoryStore
from anabranch_contracts import events as e
from anabranch_contracts.addresses import PARKED_QUEUE
from tests.simulation.audit import audit
from tests.simulation.world import World

JSON = Any
ENDS = (e.RunCompleted, e.RunFailed, e.RunCancelled, e.RunRejected)
TABLES = ("run_rows", "branch_rows", "step_rows", "convergences", "timers", "user_requests", "checkpoints")
COMPARED = ("run_rows", "branch_rows", "step_rows", "convergences")
TIMING = {
    "version", "requested_version", "result_version", "finished_version", "requested_at", "started_at",
    "finished_at", "spawned_at", "opened_at", "fired_at", "due_at", "wait_time", "convergence_wait_time",
    "parallel_branches", "worker", "answered_at", "run_id", "forked_from", "forked_at_version",
}  # fmt: skip


def recorded(world: World) -> list[Recorded]:
    """The run's whole stream."""
    return list(world.store.streams[world.run_id])


def one_outcome(events: Iterable[Recorded]) -> None:
    """Law 3: one terminal event per run, one accepted reply per step, one firing per convergence, one answer."""
    ends = [r for r in events if isinstance(r.event, ENDS)]
    assert len(ends) == 1, f"{len(ends)} terminal events"
    after = {type(r.event).__name__ for r in events if r.version > ends[0].version}
    assert after <= {"StepResultDiscarded", "CheckpointCreated", "RunForked"}, f"after the end: {after}"
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


def replays(world: World, events: list[Recorded]) -> None:
    """Law 4: rows folded from the events equal the tables; versions have no gap."""
    assert [r.version for r in events] == list(range(1, len(events) + 1))
    folded: dict[str, dict[Any, JSON]] = {name: {} for name in TABLES}
    for row in fold_rows(events):
        folded[row.table][world.store.key(row.table, row.values)] = dict(row.values)
    for name in TABLES:
        stored = {k: dict(v) for k, v in world.store.tables[name].items()}
        assert stored == folded[name], f"{name} differs from its replay"


def nothing_live(world: World) -> None:
    """A finished run leaves no branch, step, timer or convergence open."""
    tables = world.store.tables
    assert all(r["finished_at"] is not None for r in tables["branch_rows"].values())
    assert all(r["status"] not in ("requested", "waiting") for r in tables["step_rows"].values())
    assert all(r["due_at"] is None for r in tables["timers"].values())
    assert all(r["status"] != "open" for r in tables["convergences"].values())
    assert all(r["status"] != "open" for r in tables["user_requests"].values())


def nothing_parked(world: World) -> None:
    """Nothing in these worlds is unreadable; only who answers what was answered already is refused."""
    reasons = [str(d.headers["reason"]) for d in world.broker.queues[PARKED_QUEUE].ready]
    parked = [reason for reason in reasons if "is not open" not in reason]
    assert not parked, parked


def outcome(world: World) -> JSON:
    """What no schedule may change: the status; and of completed runs every row and the result."""
    if world.status != "completed":
        return world.status
    tables = [sorted(repr(_timeless(row)) for row in world.rows(name)) for name in COMPARED]
    requests = sorted(
        repr((r.event.step_id, r.event.attempt, r.event.request))
        for r in recorded(world)
        if isinstance(r.event, e.StepRequested)
    )
    result = [r.event for r in recorded(world) if isinstance(r.event, e.RunCompleted)]
    return world.status, tables, requests, result


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
    events = recorded(world)
    one_outcome(events)
    nothing_starts_while_paused(events)
    replays(world, events)
    audit(events)
    nothing_live(world)
    nothing_parked(world)


def forks(calm: World, at: int, schedule: int, faults: bool) -> World:
    """Law of forks: from any version the rest comes out the same, and no completed step is asked again."""
    events = recorded(calm)
    store = MemoryStore(streams={calm.run_id: events})
    fork = {"run_id": str(calm.run_id), "at": at}
    world = type(calm)(calm.seed, schedule, faults, calm.topology, calm.config, fork, store=store).play()
    done = {r.event.step_id for r in events[:at] if isinstance(r.event, e.StepCompleted)}
    begun = next(r.version for r in recorded(world) if isinstance(r.event, e.RunForked))
    again = [r.event for r in recorded(world)[begun:] if isinstance(r.event, e.StepRequested)]
    assert not done & {event.step_id for event in again}, "a completed step was asked again"
    return world


def check(seed: int, schedule: int) -> str:
    """Play one topology calmly, twice with faults, and once from a point of its past; raises on a broken law."""
    calm = World(seed, schedule, faults=False).play()
    _judge(calm, calm)
    for n in (1, 2):
        _judge(World(seed, schedule + n).play(), calm)
    if calm.status != "rejected":
        at = Random(schedule).randint(1, len(recorded(calm)))
        _judge(forks(calm, at, schedule + 3, faults=bool(schedule % 2)), calm)
    return calm.status


def _judge(world: World, calm: World) -> None:
    try:
        lawful(world)
        if not world.loose and not world.outsiders.disturbed:
            assert not (found := differences(outcome(world), outcome(calm))), found
    except AssertionError as broken:
        raise AssertionError(f"{world.replay} fork={world.fork}\n{broken}") from broken
