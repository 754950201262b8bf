"""Compare the projections with a replay of the log, or write them anew; under the locks of the runs."""

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson

from anabranch.domain.projections import fold_rows
from anabranch.runtime.ports import Row
from anabranch.runtime.postgres import statements as sql
from anabranch.runtime.postgres.engine import translated
from anabranch.runtime.postgres.store import PostgresStore, PostgresUnit, recorded
from anabranch_contracts.catalog import UnknownEvent

PAGE = 500
AT_ONCE = 2000  # events: their runs' locks are held for a tenth of a second or so


async def _streams(store: PostgresStore) -> AsyncIterator[tuple[UUID, int]]:
    """All runs of the log with their versions, in id order."""
    after = UUID(int=0)
    while True:
        async with translated(), store.engine.connect() as connection:
            page = (await connection.exec_driver_sql(sql.STREAMS, (after, PAGE))).all()
        for row in page:
            yield row.run_id, row.version
        if len(page) < PAGE:
            return
        after = page[-1].run_id


async def run_ids(store: PostgresStore) -> AsyncIterator[UUID]:
    """All runs of the log, in id order."""
    async for run_id, _ in _streams(store):
        yield run_id


async def _batches(store: PostgresStore) -> AsyncIterator[list[UUID]]:
    """All runs of the log, as many together as have `AT_ONCE` events; a longer one alone."""
    batch: list[UUID] = []
    events = 0
    async for run_id, version in _streams(store):
        if batch and events + version > AT_ONCE:
            yield batch
            batch, events = [], 0
        batch.append(run_id)
        events += version
    if batch:
        yield batch


async def rebuild(store: PostgresStore) -> int:
    """Write every run's rows anew from its events; returns the number of runs."""
    count = 0
    async for batch in _batches(store):
        async with store.unit(batch) as unit:
            await _rewrite(unit, batch)
        count += len(batch)
    return count


async def _rewrite(unit: PostgresUnit, run_ids: Sequence[UUID]) -> None:
    """The heads are locked, so nobody appends or erases meanwhile."""
    events = await unit.execute(sql.READ, run_ids, [0] * len(run_ids))
    rows = [row for _, one in groupby(map(recorded, events), attrgetter("run_id")) for row in fold_rows(one)]
    for table in sql.COLUMNS:
        await unit.execute(sql.DELETE_ROWS[table], run_ids)
    await unit.write_rows(rows)


async def verify(store: PostgresStore) -> list[str]:
    """Every difference between the tables and a replay of the log."""
    differences: list[str] = []
    async for run_id in run_ids(store):
        async with store.unit([run_id]) as unit:
            try:
                expected = _keyed(fold_rows(await unit.history(run_id)))
            except UnknownEvent as why:
                differences.append(f"run {run_id}: {why}")
                continue
            stored = {table: await _stored(unit, table, run_id) for table in sql.COLUMNS}
        differences += _differences(run_id, expected, stored)
    return differences


Keyed = dict[str, dict[str, Any]]


def _keyed(rows: list[Row]) -> dict[str, Keyed]:
    tables: dict[str, Keyed] = {table: {} for table in sql.COLUMNS}
    for row in rows:
        values = orjson.loads(orjson.dumps({**row.values}, default=str))
        tables[row.table]["/".join(str(values[k]) for k in sql.KEYS[row.table][1:])] = values
    return tables


async def _stored(unit: PostgresUnit, table: str, run_id: UUID) -> Keyed:
    found: Keyed = {}
    for row in await unit.execute(sql.STORED_ROWS[table], run_id):
        values = {k: _plain(k, v) for k, v in row.items()}
        found["/".join(str(values[k]) for k in sql.KEYS[table][1:])] = values
    return found


def _plain(column: str, value: Any) -> Any:
    if column == "cost" and value is not None:
        return float(value)
    return orjson.loads(orjson.dumps(value, default=str)) if value is not None else None


def _differences(run_id: UUID, expected: dict[str, Keyed], stored: dict[str, Keyed]) -> list[str]:
    return [
        f"{table} {run_id} {key}: stored {stored[table].get(key)}, replayed {expected[table].get(key)}"
        for table in sql.COLUMNS
        for key in sorted(expected[table].keys() | stored[table].keys())
        if expected[table].get(key) != stored[table].get(key)
    ]
