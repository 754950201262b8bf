"""What every store must do; memory and Postgres pass the same tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import asyncpg
import pytest

from anabranch.domain.evolve import evolve
from anabranch.domain.projections import draw_rows
from anabranch.domain.recorded import Recorded, Row
from anabranch.domain.state import RunState
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.ports import Asked, Conflict, Snapshot, Store
from anabranch.runtime.postgres.store import PostgresStore
from anabranch_contracts import events as e
from tests.golden.scenarios import SCENARIOS
from tests.unit.domain.runs import Run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    url: str | None = request.getfixturevalue("database_url") if request.param == "postgres" else None
    return url


@pytest.fixture
async def store(store_url: str | None) -> AsyncIterator[Store]:
    if store_url is None:
        yield MemoryStore()
        return
    postgres = PostgresStore(store_url)
    yield postgres
    await postgres.close()


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(database_url)
    yield made
    await made.close()


def event(run_id: UUID, version: int, cause: int = 1) -> Recorded:
    made = e.RunCancelled(f"v{version}")
    return Recorded(run_id, version, made, NOW, uuid5(run_id, str(version)), UUID(int=cause), "tester")


def run_row(run_id: UUID, version: int, status: str = "running") -> Row:
    values: dict[str, Any] = dict.fromkeys(("error", "started_at", "finished_at", "finished_version"))
    counts = dict.fromkeys(("total_steps", "branch_count", "parallel_branches", "result_count"), 0)
    values |= {"run_id": run_id, "status": status, "version": version, "requested_at": NOW, **counts}
    return Row("run_rows", values | {"convergence_wait_time": 0.0})


async def append(store: Store, run_id: UUID, *versions: int, cause: int = 1, status: str = "running") -> None:
    async with store.unit([run_id]) as unit:
        events = [event(run_id, v, cause) for v in versions]
        await unit.append(events, [run_row(run_id, versions[-1], status)])


async def versions(store: Store, run_id: UUID, known: int = 0) -> list[int]:
    async with store.unit([run_id]) as unit:
        return [r.version for r in (await unit.read({run_id: known}, "r"))[run_id].events]


async def test_what_was_appended_is_read_in_order(store: Store) -> None:
    run_id = uuid4()
    await append(store, run_id, 1, 2)
    await append(store, run_id, 3)
    async with store.unit([run_id]) as unit:
        read = (await unit.read({run_id: 0}, "r"))[run_id].events
    assert [(r.version, r.event, r.at) for r in read] == [(v, e.RunCancelled(f"v{v}"), NOW) for v in (1, 2, 3)]
    assert [r.position for r in read] == sorted(r.position for r in read) and read[0].position > 0


async def test_only_what_is_not_known_is_read(store: Store) -> None:
    run_id = uuid4()
    await append(store, run_id, 1, 2, 3)
    assert await versions(store, run_id, known=2) == [3]
    assert await versions(store, run_id, known=3) == []
    assert await versions(store, uuid4()) == []


async def test_the_fence_stores_nothing_of_a_batch_that_came_second(store: Store) -> None:
    first, second = uuid4(), uuid4()
    await append(store, first, 1)
    with pytest.raises(Conflict):
        async with store.unit([second, first]) as unit:
            await unit.append([event(second, 1), event(first, 1)], [run_row(second, 1)])
    assert await versions(store, second) == [] and await versions(store, first) == [1]


async def test_who_holds_nothing_stores_all_or_nothing_too(store: Store) -> None:
    first, second = uuid4(), uuid4()
    await append(store, first, 1)
    timer = Row("timers", {"run_id": second, "timer_id": "run", "due_at": NOW})
    for rows in ([run_row(second, 1)], [run_row(second, 1), timer]):
        with pytest.raises(Conflict):
            async with store.unit([second, first], hold=False) as unit:
                await unit.append([event(second, 1), event(first, 1)], rows)
    assert await versions(store, second) == [] and await store.due_runs(NOW) == {}
    async with store.unit([second, first], hold=False) as unit:
        read = await unit.read({first: 0, second: 0}, "r")
        await unit.append([event(second, 1), event(first, 2)], [run_row(second, 1), run_row(first, 2), timer])
    assert [len(stream.events) for stream in read.values()] == [1, 0]
    assert await versions(store, second) == [1] and await versions(store, first) == [1, 2]
    assert await store.due_runs(NOW) == {second: NOW}


async def test_events_are_found_by_the_message_that_caused_them(store: Store) -> None:
    run_id, other = uuid4(), uuid4()
    await append(store, run_id, 1, 2, cause=7)
    await append(store, run_id, 3, cause=8)
    await append(store, other, 1, cause=9)
    wanted = [(run_id, UUID(int=7)), (run_id, UUID(int=1000)), (run_id, UUID(int=9))]
    async with store.unit([run_id]) as unit:
        found = await unit.caused_by(wanted)
    assert {k.int: [r.version for r in v] for k, v in found.items()} == {7: [1, 2]}


async def test_of_several_rows_with_one_key_the_last_counts(store: Store) -> None:
    run_id = uuid4()
    async with store.unit([run_id]) as unit:
        rows = [run_row(run_id, 1, "running"), run_row(run_id, 1, "completed")]
        await unit.append([event(run_id, 1)], rows)
    assert await store.live_runs() == []


async def test_live_runs_are_those_without_an_outcome(store: Store) -> None:
    live, over = uuid4(), uuid4()
    await append(store, live, 1)
    await append(store, over, 1, status="failed")
    assert await store.live_runs() == [live]


async def test_live_runs_come_in_pages(store: Store) -> None:
    run_ids = sorted(uuid4() for _ in range(5))
    for run_id in run_ids:
        await append(store, run_id, 1)
    assert await store.live_runs(limit=2) == run_ids[:2]
    assert await store.live_runs(after=run_ids[1], limit=9) == run_ids[2:]


async def test_timers_are_due_until_they_are_cleared(store: Store) -> None:
    run_id = uuid4()

    def timer(due_at: datetime | None) -> Row:
        return Row("timers", {"run_id": run_id, "timer_id": "t", "due_at": due_at})

    async with store.unit([run_id]) as unit:
        await unit.append([event(run_id, 1)], [run_row(run_id, 1), timer(NOW)])
    assert await store.due_runs(NOW - timedelta(seconds=1)) == {}
    assert await store.due_runs(NOW) == {run_id: NOW}
    async with store.unit([run_id]) as unit:
        await unit.append([event(run_id, 2)], [run_row(run_id, 2), timer(None)])
    assert await store.due_runs(NOW) == {}


async def test_of_several_timers_of_a_run_the_first_is_told(store: Store) -> None:
    run_id = uuid4()
    moments = [NOW - timedelta(seconds=s) for s in (1, 3, 2)]
    rows = [Row("timers", {"run_id": run_id, "timer_id": str(i), "due_at": at}) for i, at in enumerate(moments)]
    async with store.unit([run_id]) as unit:
        await unit.append([event(run_id, 1)], [run_row(run_id, 1), *rows])
    assert await store.due_runs(NOW) == {run_id: NOW - timedelta(seconds=3)}


async def look(store: Store) -> None:
    """Note a look when no transaction of anybody on the server is older than what was recorded."""
    if isinstance(store, PostgresStore):
        late = (
            "SELECT EXISTS (SELECT 1 FROM anabranch.events WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) "
            "AND xid < pg_snapshot_xmax(pg_current_snapshot()))"
        )
        async with asyncio.timeout(20), store.engine.connect() as connection:
            while (await connection.exec_driver_sql(late)).scalar():
                await connection.commit()
                await asyncio.sleep(0.01)
    await store.looked(uuid4())


async def test_one_at_a_time_has_the_watch(store: Store) -> None:
    async with store.watch() as held:
        assert held
        async with store.watch() as too:
            assert not too
        async with store.watch() as still:
            assert not still
    async with store.watch() as held:
        assert held


async def test_the_watch_notes_its_mark_and_whether_anything_moved(store: Store) -> None:
    first, mark = await store.lookout(), uuid4()
    assert first.mark is None and first.identity and not first.moved
    await store.looked(mark)
    await append(store, uuid4(), 1)
    second = await store.lookout()
    assert (second.mark, second.identity, second.moved) == (mark, first.identity, True)
    await look(store)
    assert (await store.lookout()).moved, "it was recorded after the last look but one"
    await look(store)
    assert not (await store.lookout()).moved


async def test_runs_stand_when_nothing_was_recorded_between_two_looks(store: Store) -> None:
    stands, moves, over, waits = (uuid4() for _ in range(4))
    await store.looked(uuid4())
    await append(store, stands, 1, 2)
    await append(store, moves, 1)
    await append(store, over, 1, status="completed")
    await append(store, waits, 1, status="waiting")
    assert await store.standing_runs() == []
    await look(store)
    await append(store, moves, 2)
    assert await store.standing_runs() == [stands]
    await look(store)
    assert await store.standing_runs() == [moves], "the other one was looked at"


def at_agent(run_id: UUID, branch: str, agent: str, asked: int | None, status: str = "running") -> Row:
    values: dict[str, Any] = dict.fromkeys(("parent_branch_id", "error", "spawned_at", "finished_at"))
    values |= {"run_id": run_id, "branch_id": branch, "type": "simple", "status": status, "agent": agent}
    return Row("branch_rows", values | {"step_count": 1, "result_version": asked})


def tried(run_id: UUID, branch: str, agent: str, asked: int, status: str = "requested") -> Row:
    names = "action error worker result_version requested_at started_at finished_at input_tokens output_tokens cost"
    values: dict[str, Any] = dict.fromkeys(names.split())
    values |= {"run_id": run_id, "step_id": f"{branch}#1", "branch_id": branch, "step_number": 1, "attempt": 2}
    return Row("step_rows", values | {"agent": agent, "status": status, "requested_version": asked})


async def ask(store: Store, timeout: float | None, *rows: Row, status: str = "running") -> UUID:
    """A run whose events are a second apart, and what of it stands in the tables."""
    run_id: UUID = rows[0].values["run_id"]
    said = [e.RunStarted("task", {}, "", config={"step_timeout": timeout}), *[e.RunCancelled(f"v{v}") for v in (2, 3)]]
    events = [
        Recorded(run_id, v, one, NOW + timedelta(seconds=v), uuid5(run_id, str(v)), UUID(int=1), "tester")
        for v, one in enumerate(said, 1)
    ]
    async with store.unit([run_id]) as unit:
        await unit.append(events, [run_row(run_id, 3, status), *rows])
    return run_id


async def test_steps_that_are_asked_for_are_found_by_agent_and_run(store: Store) -> None:
    first, second, paused, over = (UUID(int=i) for i in range(1, 5))
    moments = [NOW + timedelta(seconds=s) for s in range(5)]
    await ask(store, 60, at_agent(first, "b0", "A", 3), at_agent(first, "b1", "A", None, "pending"))
    again = [at_agent(second, "b0", "A", None), tried(second, "b0", "A", 2)]
    failed = [at_agent(second, "b1", "A", None), tried(second, "b1", "A", 2, "failed")]
    await ask(store, None, *again, *failed, at_agent(second, "b2", "C", 3), at_agent(second, "b3", "A", 3, "merged"))
    await ask(store, 5, at_agent(paused, "b0", "A", 2), status="paused")
    await ask(store, 5, at_agent(over, "b0", "A", 2), status="completed")
    assert sorted(await store.asked_agents(moments[3])) == ["A"]
    assert sorted(await store.asked_agents(moments[4])) == ["A", "C"]
    found = await store.asked_steps("A", moments[4])
    assert found == [
        Asked(first, "b0#1", 1, moments[3], 60),
        Asked(second, "b0#1", 2, moments[2], None),
        Asked(paused, "b0#1", 1, moments[2], 5),
    ]
    assert await store.asked_steps("A", moments[4], first) == found[1:]
    assert await store.asked_steps("A", moments[4], first, 1) == found[1:2]
    assert await store.asked_steps("A", moments[3]) == found[1:]
    assert await store.asked_steps("B", moments[4]) == []


async def test_all_that_is_asked_of_a_run_is_on_one_page(store: Store) -> None:
    first, second = UUID(int=1), UUID(int=2)
    await ask(store, 1, *(at_agent(first, f"b{i}", "A", 2) for i in range(3)))
    await ask(store, 1, at_agent(second, "b0", "A", 2))
    later = NOW + timedelta(minutes=1)
    assert [one.run_id for one in await store.asked_steps("A", later, limit=2)] == [first] * 3
    assert [one.run_id for one in await store.asked_steps("A", later, first, 2)] == [second]


@pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)
async def test_after_each_event_that_is_asked_for_which_the_run_waits_for(
    store: Store, play: Callable[[], Run]
) -> None:
    """Of all rows ever written, in the order in which a service writes them."""
    events, asked = play().events, 0
    state = RunState(events[0].run_id)
    for one in events:
        evolve(state, one)
        async with store.unit([one.run_id]) as unit:
            await unit.append([one], draw_rows(state))
        steps = [b.step for b in state.branches.values() if b.step is not None and b.step.status == "requested"]
        wanted = {(step.id, step.attempt, step.agent) for step in steps}
        later = one.at + timedelta(days=1)
        found = [(agent, s) for agent in await store.asked_agents(later) for s in await store.asked_steps(agent, later)]
        assert {(step.step_id, step.attempt, agent) for agent, step in found} == wanted
        asked += len(wanted)
    assert asked or not any(isinstance(one.event, e.StepRequested) for one in events)


async def test_what_was_asked_after_a_moment_of_the_log_is_told_whatever_the_clocks_said(store: Store) -> None:
    run_id, other = uuid4(), uuid4()

    async def asked(run: UUID, version: int) -> None:
        made = e.StepRequested("b0", f"b0#{version}", version, agent="A", attempt=1, request="request")
        async with store.unit([run]) as unit:
            recorded = Recorded(run, version, made, NOW, uuid5(run, str(version)), UUID(int=1), "tester")
            await unit.append([recorded], [run_row(run, version)])

    await asked(run_id, 1)
    moment = (await store.lookout()).moment
    assert moment is not None
    await asked(run_id, 2)
    await asked(other, 1)
    assert await store.asked_since(moment, [run_id]) == {(run_id, "b0#2", 1)}


async def test_a_log_from_a_dump_of_an_older_server_hides_nothing_from_the_watch(
    postgres: PostgresStore, database_url: str
) -> None:
    """Its transactions are numbered by another server, far ahead of this one."""
    old, new = uuid4(), uuid4()
    await append(postgres, old, 1)
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE anabranch.events DISABLE TRIGGER ALL")
    await connection.execute("UPDATE anabranch.events SET xid = '1000000000000'")
    await connection.execute("UPDATE anabranch.watch SET looked_to = '2000000000000', horizon = '2000000000000'")
    await connection.close()
    first = await postgres.lookout()
    assert first.moved and first.moment is None
    await look(postgres)
    await append(postgres, new, 1)
    assert (await postgres.lookout()).moved
    await look(postgres)
    assert await postgres.standing_runs() == [new]
    await look(postgres)
    assert not (await postgres.lookout()).moved, "the dump moves no more"


async def test_a_snapshot_serves_only_the_reducer_that_made_it(store: Store) -> None:
    run_id = uuid4()
    await append(store, run_id, 1, 2)
    async with store.unit([run_id]) as unit:
        await unit.append([event(run_id, 3)], [run_row(run_id, 3)], [Snapshot(run_id, 2, "mine", b"state")])
    async with store.unit([run_id]) as unit:
        mine = (await unit.read({run_id: 0}, "mine"))[run_id]
        other = (await unit.read({run_id: 0}, "other"))[run_id]
    assert mine.snapshot is not None and mine.snapshot.data == b"state" and [r.version for r in mine.events] == [3]
    assert other.snapshot is None and [r.version for r in other.events] == [1, 2, 3]


async def whole_log(store: Store, count: int, batch: int = 1000) -> list[UUID]:
    """The runs of so many events; a transaction anywhere on the server holds readers back while it is open."""
    seen: list[UUID] = []
    async with asyncio.timeout(60):
        while len(seen) < count:
            seen = [r.run_id async for part in store.subscribe(batch=batch) for r in part]
    return seen


async def test_the_whole_log_is_read_in_commit_order(store: Store) -> None:
    run_ids = [uuid4() for _ in range(5)]
    for run_id in run_ids:
        await append(store, run_id, 1, 2)
    seen = await whole_log(store, 10, batch=3)
    assert seen == [run_id for run_id in run_ids for _ in (1, 2)]


async def test_an_exception_inside_a_unit_stores_nothing(postgres: PostgresStore) -> None:
    run_id = uuid4()
    with pytest.raises(RuntimeError):
        async with postgres.unit([run_id]) as unit:
            await unit.append([event(run_id, 1)], [run_row(run_id, 1)])
            raise RuntimeError("crash before commit")
    assert await versions(postgres, run_id) == []


async def test_units_on_one_run_follow_each_other(postgres: PostgresStore) -> None:
    run_id, order = uuid4(), []
    await append(postgres, run_id, 1)

    async def add(version: int, entered: asyncio.Event, gate: asyncio.Event) -> None:
        async with postgres.unit([run_id]) as unit:
            entered.set()
            await gate.wait()
            await unit.append([event(run_id, version)], [run_row(run_id, version)])
            order.append(version)

    gate, open_gate, entered, late = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    open_gate.set()
    first = asyncio.create_task(add(2, entered, gate))
    await entered.wait()
    second = asyncio.create_task(add(3, late, open_gate))
    gate.set()
    await asyncio.gather(first, second)
    assert order == [2, 3]


async def test_a_reader_never_skips_what_commits_late(postgres: PostgresStore) -> None:
    """The slow one takes its position first and commits last: a reader by position alone would miss it."""
    slow, fast = uuid4(), uuid4()
    async with postgres.unit([slow]) as unit:
        await unit.append([event(slow, 1)], [run_row(slow, 1)])
        await append(postgres, fast, 1)
        early = [r.run_id async for batch in postgres.subscribe() for r in batch]
    later = await whole_log(postgres, 2)
    assert early == [] and set(later) == {slow, fast}


@pytest.mark.parametrize(
    "statement",
    ["UPDATE anabranch.events SET actor = 'x'", "DELETE FROM anabranch.events", "TRUNCATE anabranch.events"],
)
async def test_events_can_be_neither_changed_nor_removed(
    postgres: PostgresStore, database_url: str, statement: str
) -> None:
    await append(postgres, uuid4(), 1)
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await connection.execute(statement)
    await connection.close()
