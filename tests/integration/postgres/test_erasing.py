"""Erasure in the database: nothing of what a run was about is left, its shape is, and nobody can do more than that."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded, Row
from anabranch.runtime.postgres import engine
from anabranch.runtime.postgres.erasing import Unerasable, erase
from anabranch.runtime.postgres.rebuild import rebuild, verify
from anabranch.runtime.postgres.store import PostgresStore
from anabranch_contracts.catalog import decode
from anabranch_contracts.erasure import PAYLOADS
from tests.acceptance import dump
from tests.golden.samples import paths
from tests.simulation.laws import recorded
from tests.simulation.world import World
from tests.unit.domain.runs import Run

JSON = Any
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"], "metadata": {"about": "hush"}}
RETRY = {"retry": {"max_attempts": 1, "non_retryable": ["hush"]}}
CAUSE = {"agent": "A", "branch_id": "b0", "kind": "terminal", "type": "hush or so", "message": "hush"}
SECRET: dict[str, JSON] = {
    "value": ["hush", {"hush": "hush"}],
    "error": {"kind": "terminal", "type": "Broken", "message": "hush", "causes": [CAUSE, {**CAUSE, "type": "Odd"}]},
    "topology": {"nodes": [{"name": "A"}], "edges": [{"source": "A", "target": "B", "condition": "'hush' == ''"}],
                 "rules": [{"type": "ConditionalRule", "condition": "'hush' == ''"}], "metadata": {"hush": 1}},
    "identity": "hush",
    "settings": {"max_steps": 5, "retry": {"max_attempts": 3, "non_retryable": ["hush"]}},
    "call": {"number": 1, "print": "hush", "of": ["A"]},
    "new": {"new": {"hush": "hush"}},
    "time": "at hush o'clock",
    "address": "hush",
}  # fmt: skip


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(database_url)
    yield made
    await made.close()


async def _write(store: PostgresStore, events: list[Recorded]) -> UUID:
    run_id = events[0].run_id
    async with store.unit([run_id]) as unit:
        await unit.append(events, list(fold_rows(events)))
    return run_id


def a_run(run_id: UUID | None = None, ended: bool = True) -> list[Recorded]:
    """Two steps that say secrets."""
    run = Run(CHAIN, task={"who": "hush"}, context={"where": "hush"}, config=RETRY)
    run.reply("A", {"says": "hush"})
    if ended:
        run.reply("B", ["hush"])
    own = run_id or uuid4()
    return [event._replace(run_id=own, message_id=uuid4()) for event in run.events]


async def _execute(url: str, statement: str, *parameters: JSON, role: str | None = None) -> JSON:
    connection = await asyncpg.connect(url)
    try:
        if role:
            await connection.execute(f"SET ROLE {role}")
        return await connection.fetch(statement, *parameters)
    finally:
        await connection.close()


async def test_the_database_erases_what_the_contracts_say(database_url: str) -> None:
    rows = await _execute(database_url, "SELECT type, field, kind FROM anabranch.payload_fields")
    found: dict[str, dict[str, str]] = {}
    for kind, field, what in rows:
        found.setdefault(kind, {})[field] = what
    assert found == PAYLOADS


async def test_every_event_ever_stored_loses_its_payload_and_is_still_read(database_url: str) -> None:
    statement = "SELECT anabranch.erased_data($1, $2::text::jsonb, $3, 7)::text"
    connection = await asyncpg.connect(database_url)
    for path in paths():
        kind, version = path.stem.split(".v")
        sample = orjson.loads(path.read_bytes())
        told = {field: _said(what, sample[field]) for field, what in PAYLOADS.get(kind, {}).items() if field in sample}
        body = orjson.dumps({**sample, **told}).decode()
        erased = await connection.fetchval(statement, kind, body, UUID(int=1))
        assert "hush" not in erased, (path, erased)
        assert await connection.fetchval(statement, kind, erased, UUID(int=1)) == erased
        data = orjson.loads(erased)
        assert data.keys() == sample.keys() and decode(kind, int(version), data)
        assert all(data[name] == value for name, value in sample.items() if name not in told)
    await connection.close()


def _said(what: str, sample: JSON) -> JSON:
    """A secret of the form that the field has."""
    return ["hush"] if what == "value" and isinstance(sample, list) else SECRET[what]


@pytest.mark.parametrize("first", [0, 500])
def test_tables_equal_a_replay_after_any_run_was_erased(database_url: str, first: int) -> None:
    played = [recorded(World(seed, seed * 31).play()) for seed in range(first, first + 15)]
    kinds = asyncio.run(_erase_all(database_url, played))
    assert {"RunErased", "StepCompleted", "ForkOpened"} <= kinds


async def _erase_all(url: str, played: list[list[Recorded]]) -> set[str]:
    """Write the runs, erase each, compare; the types of event there were."""
    store = PostgresStore(url)
    runs = [await _write(store, events) for events in played]
    for run_id in runs:
        assert (await erase(store.engine, run_id, "somebody", "a test")).events[run_id] > 0
    assert await verify(store) == []
    assert await rebuild(store) == len(runs) and await verify(store) == []
    async with store.unit([]) as unit:
        kinds = {type(event.event).__name__ for run_id in runs for event in await unit.history(run_id)}
    await store.close()
    return kinds


async def test_the_shape_is_left_and_the_audit_says_who_and_why(store: PostgresStore, database_url: str) -> None:
    run_id = await _write(store, a_run())
    before = await _execute(database_url, "SELECT step_id, agent, status, finished_at, action FROM anabranch.steps")
    assert "hush" in await dump.database(database_url)
    await erase(store.engine, run_id, "the officer", "article 17")
    stored = await dump.database(database_url)
    assert "hush" not in stored and "[erased]" in stored
    assert before == await _execute(
        database_url, "SELECT step_id, agent, status, finished_at, action FROM anabranch.steps"
    )
    (row,) = await _execute(database_url, "SELECT * FROM anabranch.erasures")
    assert (row["run_id"], row["actor"], row["reason"]) == (run_id, "the officer", "article 17")
    assert row["login"] and (row["first_version"], row["last_version"]) == (1, len(a_run()))


async def test_again_changes_nothing(store: PostgresStore, database_url: str) -> None:
    run_id = await _write(store, a_run())
    await erase(store.engine, run_id, "a", "b")
    before = await dump.database(database_url)
    assert (await erase(store.engine, run_id, "c", "d")).events == {run_id: 0}
    assert await dump.database(database_url) == before


async def test_what_lives_or_is_unknown_is_refused(store: PostgresStore, database_url: str) -> None:
    run_id = await _write(store, a_run(ended=False))
    before = await dump.database(database_url)
    with pytest.raises(Unerasable, match=f"run {run_id} is running.*cancel it first"):
        await erase(store.engine, run_id, "a", "b")
    with pytest.raises(Unerasable, match="is unknown"):
        await erase(store.engine, uuid4(), "a", "b")
    assert await dump.database(database_url) == before


async def _forked(store: PostgresStore, source: UUID) -> UUID:
    run_id = uuid4()
    async with store.unit([run_id]) as unit:
        await unit.append(a_run(run_id), _forked_rows(a_run(run_id), source))
    return run_id


def _forked_rows(events: list[Recorded], source: UUID) -> list[Row]:
    """The rows of a run that is known to have another's past."""
    rows = fold_rows(events)
    return [r._replace(values={**r.values, "forked_from": source}) if r.table == "run_rows" else r for r in rows]


async def test_copies_are_named_or_erased_too(store: PostgresStore, database_url: str) -> None:
    source = await _write(store, a_run())
    fork = await _forked(store, source)
    inner = await _forked(store, fork)
    done = await erase(store.engine, source, "a", "b")
    assert set(done.events) == {source} and set(done.copies) == {fork, inner}
    assert (await erase(store.engine, inner, "a", "b")).copies == [fork]
    done = await erase(store.engine, source, "a", "b", with_forks=True)
    assert done.events.keys() == {source, fork, inner} and not done.copies
    assert "hush" not in await dump.database(database_url)


async def test_a_fork_that_is_under_way_is_waited_for(store: PostgresStore, database_url: str) -> None:
    source = await _write(store, a_run())
    fork = uuid4()
    async with store.unit([fork]) as unit:
        past = await unit.history(source)
        erasing = asyncio.create_task(erase(store.engine, source, "a", "b"))
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(30):
            while not (await _execute(database_url, waits))[0][0]:  # noqa: ASYNC110 - a lock gives no signal
                await asyncio.sleep(0.05)
        events = [event._replace(run_id=fork) for event in past]
        await unit.append(events, _forked_rows(events, source))
    assert (await erasing).copies == [fork]


async def test_a_crash_in_the_middle_leaves_nothing_half_done(store: PostgresStore, database_url: str) -> None:
    source = await _write(store, a_run())
    fork = await _forked(store, source)
    live = await _write(store, a_run(ended=False))
    await _execute(database_url, "UPDATE anabranch.run_rows SET forked_from = $1 WHERE run_id = $2", fork, live)
    before = await dump.database(database_url)
    with pytest.raises(Unerasable, match="cancel it first"):  # the third, after two were erased
        await erase(store.engine, source, "a", "b", with_forks=True)
    assert await dump.database(database_url) == before
    connection = await asyncpg.connect(database_url)
    await connection.execute("BEGIN")
    await connection.execute("SELECT anabranch.erase($1, 'a', 'b')", source)
    connection.terminate()
    assert await dump.database(database_url) == before


CHANGE = "UPDATE anabranch.events SET data = anabranch.erased_data(type, data, run_id, version)"
_AUDIT = "INSERT INTO anabranch.erasures (run_id, first_version, last_version, actor, reason) "
AUDIT = _AUDIT + "SELECT run_id, 1, 1, 'a', 'b' FROM anabranch.run_rows"
FORBIDDEN = {
    "erasing without an audit": [CHANGE],
    "other words under an audit": [AUDIT, 'UPDATE anabranch.events SET data = data || \'{"task": "mine"}\''],
    "another actor under an audit": [AUDIT, CHANGE + ", actor = 'nobody'"],
    "another time under an audit": [AUDIT, CHANGE + ", recorded_at = now()"],
    "deleting under an audit": [AUDIT, "DELETE FROM anabranch.events"],
    "truncating": ["TRUNCATE anabranch.events"],
    "an audit of another run": [_AUDIT + "VALUES (gen_random_uuid(), 1, 1, 'a', 'b')", CHANGE],
    "changing the audit": [AUDIT, "UPDATE anabranch.erasures SET reason = 'none'"],
    "removing the audit": [AUDIT, "DELETE FROM anabranch.erasures"],
    "truncating the audit": [AUDIT, "TRUNCATE anabranch.erasures"],
}


async def test_even_the_owner_can_do_nothing_else_to_the_log(store: PostgresStore, database_url: str) -> None:
    await _write(store, a_run())
    for attempt, statements in FORBIDDEN.items():
        with pytest.raises(asyncpg.RaiseError, match="are append-only"):
            await _execute_all(database_url, statements)
            raise AssertionError(attempt)


async def _execute_all(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_an_audit_of_yesterday_is_none(store: PostgresStore, database_url: str) -> None:
    await _write(store, a_run())
    await _execute(database_url, AUDIT)
    with pytest.raises(asyncpg.RaiseError, match="events are append-only"):
        await _execute(database_url, CHANGE)


ATTEMPTS = (
    "SELECT anabranch.erase($1, 'a', 'b')",
    "UPDATE anabranch.payload_fields SET kind = 'value' WHERE $1 = $1::uuid",
    "INSERT INTO anabranch.erasures (run_id, first_version, last_version, actor, reason) VALUES ($1, 1, 1, 'a', 'b')",
)


@pytest.mark.parametrize("role", ["anabranch_writer", "anabranch_reader"])
async def test_services_and_readers_cannot_erase(store: PostgresStore, database_url: str, role: str) -> None:
    run_id = await _write(store, a_run())
    for attempt in ATTEMPTS:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _execute(database_url, attempt, run_id, role=role)


async def test_the_operator_can_and_is_named_whatever_is_said(store: PostgresStore, database_url: str) -> None:
    run_id = await _write(store, a_run())
    shadow = "CREATE TEMP TABLE run_rows AS SELECT 1 AS run_id"
    connection = await asyncpg.connect(database_url)
    await connection.execute(shadow)
    await connection.execute("SET search_path = pg_temp, public")
    await connection.execute("SET ROLE anabranch_operator")
    assert await connection.fetchval("SELECT anabranch.erase($1, 'somebody else', 'b')", run_id) > 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("UPDATE anabranch.events SET data = '{}'")
    (row,) = await connection.fetch("SELECT actor, login FROM anabranch.erasures")
    assert (row["actor"], row["login"]) == ("somebody else", await connection.fetchval("SELECT session_user"))
    await connection.close()


async def test_a_long_erasure_is_waited_for_longer_than_other_statements(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 0.5)
    store = PostgresStore(database_url)
    run_id = await _write(store, a_run())
    other = await asyncpg.connect(database_url)
    held = other.transaction()
    await held.start()
    await other.execute("SELECT FROM anabranch.run_rows FOR UPDATE")
    erasing = asyncio.create_task(erase(store.engine, run_id, "a", "b"))
    await asyncio.wait({erasing}, timeout=1.5)  # thrice what any other statement may take
    assert not erasing.done()
    await held.rollback()
    assert (await erasing).events[run_id] > 0
    await other.close()
    await store.close()
