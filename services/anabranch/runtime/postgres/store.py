"""The event store on Postgres.

A unit locks the rows of its runs in id order; their versions tell at once whether there is anything to read.
The lock only saves wasted work: the primary key (run_id, version) is the fence that decides who was first.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from anabranch.runtime.ports import Asked, Lookout, Recorded, Row, Snapshot, Stream, Unavailable
from anabranch.runtime.postgres import statements as sql
from anabranch.runtime.postgres import watch
from anabranch.runtime.postgres.engine import create_engine, create_pool, translated
from anabranch.runtime.postgres.schema import require
from anabranch_contracts.catalog import UnknownEvent, decode

GOODBYE_SECONDS = 3.0


def recorded(row: Any) -> Recorded:
    """A stored row as a recorded event."""
    run_id, version, kind, schema_version, data, at, message_id, causation_id, actor, position, *_ = row
    event = decode(kind, schema_version, orjson.loads(data))
    return Recorded(run_id, version, event, at, message_id, causation_id, actor, position)


class PostgresStore:
    """Implements `ports.Store`; safe to share between the tasks of one process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[Any] | None = None
        self.engine = create_engine(url)

    async def ready(self) -> None:
        await require(self.engine)

    @asynccontextmanager
    async def unit(self, runs: Sequence[UUID], hold: bool = True) -> AsyncIterator["PostgresUnit"]:
        """A transaction over the locked heads of `runs`, or one that begins with its append."""
        async with translated(), self._connection() as connection:
            if not hold:
                yield PostgresUnit(connection, frozenset(), {})
                return
            async with connection.transaction():
                heads = await connection.fetch(sql.LOCK_HEADS, sorted(runs)) if runs else []
                yield PostgresUnit(connection, frozenset(runs), dict(heads))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["PoolConnectionProxy[Any]"]:
        if self._pool is None:  # here and not sooner, for it belongs to an event loop
            self._pool = create_pool(self._url)
        pool = await self._pool
        async with pool.acquire() as connection:
            yield connection

    async def subscribe(self, after: tuple[int, int] = (0, 0), batch: int = 1000) -> AsyncIterator[list[Recorded]]:
        """The whole log in commit order, up to the oldest transaction that may still commit."""
        cursor = after
        while True:
            rows = await self._rows(sql.SUBSCRIBE, str(cursor[0]), cursor[1], batch)
            if not rows:
                return
            yield [recorded(row) for row in rows]
            cursor = (int(rows[-1]["xid"]), rows[-1]["position"])

    async def live_runs(self, after: UUID | None = None, limit: int = 1000) -> list[UUID]:
        return [row["run_id"] for row in await self._rows(sql.LIVE_RUNS, after, limit)]

    async def due_runs(self, now: datetime, limit: int = 1000) -> dict[UUID, datetime]:
        return dict(await self._rows(sql.DUE_RUNS, now, limit))

    async def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        async with translated(), self._connection() as connection:
            return await connection.fetch(statement, *parameters)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[bool]:
        """Hold the watch; False while another process has it."""
        async with translated(), watch.hold(self.engine) as held:
            yield held

    async def lookout(self) -> Lookout:
        async with translated():
            return await watch.lookout(self.engine)

    async def standing_runs(self) -> list[UUID]:
        async with translated():
            return await watch.standing(self.engine)

    async def looked(self, mark: UUID | None) -> None:
        async with translated():
            await watch.looked(self.engine, mark)

    async def asked_since(self, moment: str, run_ids: Sequence[UUID]) -> set[tuple[UUID, str, int]]:
        async with translated():
            return await watch.asked_since(self.engine, moment, run_ids)

    async def asked_agents(self, before: datetime) -> list[str]:
        async with translated():
            return await watch.asked_agents(self.engine, before)

    async def asked_steps(
        self, agent: str, before: datetime, after: UUID | None = None, limit: int = 1000
    ) -> list[Asked]:
        async with translated():
            return await watch.asked_steps(self.engine, agent, before, after, limit)

    async def probe(self) -> None:
        async with translated(), self._connection() as connection:
            if await connection.fetchval(sql.PROBE):
                raise Unavailable("Postgres only reads: this server is a standby, or was told to")

    async def close(self) -> None:
        """Say goodbye to the server, if it still listens."""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                if self._pool is not None:
                    await self._pool.close()
                await self.engine.dispose()
        except TimeoutError:
            if self._pool is not None:
                self._pool.terminate()
            await self.engine.dispose(close=False)


class PostgresUnit:
    """One transaction of the store."""

    def __init__(self, connection: "PoolConnectionProxy[Any]", locked: frozenset[UUID], heads: dict[UUID, int]) -> None:
        self._connection = connection
        self._locked = locked
        self._heads = heads

    async def read(self, known: Mapping[UUID, int], reducer: str) -> dict[UUID, Stream]:
        behind = {r: v for r, v in known.items() if r not in self._locked or self._heads.get(r, 0) > v}
        snapshots = await self._snapshots([r for r, v in behind.items() if v == 0], reducer)
        since = {r: snapshots[r].version if r in snapshots else v for r, v in behind.items()}
        rows: dict[UUID, list[Any]] = {run_id: [] for run_id in known}
        if since:
            for row in await self._connection.fetch(sql.READ, list(since), list(since.values())):
                rows[row["run_id"]].append(row)
        return {run_id: _stream(snapshots.get(run_id), found) for run_id, found in rows.items()}

    async def _snapshots(self, run_ids: list[UUID], reducer: str) -> dict[UUID, Snapshot]:
        if not run_ids:
            return {}
        rows = await self._connection.fetch(sql.SNAPSHOTS, run_ids, reducer)
        return {run_id: Snapshot(run_id, version, reducer, data) for run_id, version, data in rows}

    async def caused_by(self, messages: Sequence[tuple[UUID, UUID]]) -> dict[UUID, list[Recorded]]:
        runs, ids = {run_id for run_id, _ in messages}, {message_id for _, message_id in messages}
        found: dict[UUID, list[Recorded]] = {}
        for row in await self._connection.fetch(sql.CAUSED_BY, list(runs), list(ids)):
            found.setdefault(row["causation_id"], []).append(recorded(row))
        return found

    async def history(self, run_id: UUID) -> list[Recorded]:
        await self._connection.fetch(sql.PAST, run_id)
        rows = await self._connection.fetch(sql.READ, [run_id], [0])
        return [recorded(row) for row in rows]

    async def append(self, events: Sequence[Recorded], rows: Sequence[Row], snapshots: Sequence[Snapshot] = ()) -> None:
        tables = _by_table(rows)
        at_once = [_json(tables.pop(table, [])) for table in sql.WITH_EVENTS]
        async with translated(), self._transaction(bool(tables or snapshots)):
            await self._connection.fetch(sql.RECORD, *sql.event_columns(events), *at_once)
            await self._write(tables)
            for one in snapshots:
                await self._connection.fetch(sql.SAVE_SNAPSHOT, one.run_id, one.version, one.reducer, one.data)

    def _transaction(self, several: bool) -> AbstractAsyncContextManager[Any]:
        """What several statements need that are not in one already."""
        alone = self._connection.is_in_transaction() or not several
        return nullcontext() if alone else self._connection.transaction()

    async def write_rows(self, rows: Sequence[Row]) -> None:
        """Upsert projection rows, one statement a table."""
        await self._write(_by_table(rows))

    async def _write(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        for table, values in tables.items():
            await self._connection.fetch(sql.UPSERT[table], _json(values))

    async def execute(self, statement: str, *parameters: Any) -> Sequence[Any]:
        """Run one statement in this transaction; its rows, if it has any."""
        return await self._connection.fetch(statement, *parameters)


def _stream(snapshot: Snapshot | None, rows: Iterable[Any]) -> Stream:
    """One run's events, or what of them was written by a newer release."""
    try:
        return Stream(snapshot, [recorded(row) for row in rows])
    except UnknownEvent as why:
        return Stream(snapshot, (), str(why))


def _json(values: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(values, default=str).decode()


def _by_table(rows: Iterable[Row]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by table, the last of each key, in key order so that two writers never lock crosswise."""
    latest: dict[str, dict[tuple[str, ...], Mapping[str, Any]]] = {}
    for row in rows:
        key = tuple(str(row.values[column]) for column in sql.KEYS[row.table])
        latest.setdefault(row.table, {})[key] = row.values
    return {table: [values for _, values in sorted(keyed.items())] for table, keyed in latest.items()}
