"""The laws of a run, checked on a world after it came to rest."""

from collections.abc import Iterable
from typing import Any

from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded
from anabranch_contracts import events as e
from anabranch_contracts.addresses import PARKED_QUEUE
from tests.simulation.world import World

JSON = Any
TABLES = ("run_rows", "branch_rows", "step_rows", "convergences", "timers", "user_requests", "checkpoints")
TIMING = {
    "version", "requested_version", "result_version", "finished_version", "requested_at", "started_at",
    "finished_at", "spawned_at", "opened_at", "fired_at", "due_at", "wait_time", "convergence_wait_time",
    "parallel_branches", "worker",
}  # fmt: skip


def recorded(world: World) -> list[Recorded]:
    """The run's whole stream."""
    return list(world.store.streams[world.run_id])


def one_outcome(events: Iterable[Recorded]) -> None:
    """Law 3: one terminal event per run, one accepted reply per step, one firing per convergence."""
    ends = [r for r in events if isinstance(r.event, e.RunCompleted | e.RunFailed | e.RunRejected)]
    assert len(ends) == 1, f"{len(ends)} terminal events"
    accepted = [r.event.step_id for r in events if isinstance(r.event, e.StepCompleted)]
    assert len(accepted) == len(set(accepted)), "a step was accepted twice"
    fired = [r.event.convergence_id for r in events if isinstance(r.event, e.BranchConverged)]
    assert len(fired) == len(set(fired)), "a convergence fired twice"


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


def nothing_parked(world: World) -> None:
    """Nothing in these worlds is unreadable, so whatever was parked shows a defect."""
    parked = [d.headers["reason"] for d in world.broker.queues[PARKED_QUEUE].ready]
    assert not parked, parked


def outcome(world: World) -> JSON:
    """What no schedule may change: the status; and of completed runs every row and the result."""
    if world.status != "completed":
        return world.status
    tables = [sorted(repr(_timeless(row)) for row in world.store.tables[name].values()) for name in TABLES[:4]]
    requests = sorted(
        repr((r.event.step_id, r.event.attempt, r.event.request))
        for r in recorded(world)
        if isinstance(r.event, e.StepRequested)
    )
    result = [r.event for r in recorded(world) if isinstance(r.event, e.RunCompleted)]
    return world.status, tables, requests, result


def _timeless(row: JSON) -> list[tuple[str, JSON]]:
    return sorted((k, v) for k, v in row.items() if k not in TIMING)


def check(seed: int, schedule: int) -> str:
    """Play one topology three times: calmly, and twice with faults; raises when a law is broken."""
    calm = World(seed, schedule, faults=False).play()
    for world in (calm, World(seed, schedule + 1).play(), World(seed, schedule + 2).play()):
        try:
            events = recorded(world)
            one_outcome(events)
            replays(world, events)
            nothing_live(world)
            nothing_parked(world)
            assert outcome(world) == outcome(calm), f"{world.status}, but {calm.status} when calm: outcomes differ"
        except AssertionError as broken:
            raise AssertionError(f"{world.replay}\n{broken}") from broken
    return calm.status
