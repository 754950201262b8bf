"""Compare the projections with a replay of the log, or write them anew; run by run, under the run's lock."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson

from anabranch.domain.projections import fold_rows
from anabranch.runtime.ports import Row
from anabranch.runtime.postgres import statements as sql
from anabranch.runtime.postgres.engine import translated
from anabranch.runtime.postgres.store import PostgresStore, PostgresUnit
from anabranch_contracts.catalog import UnknownEvent

PAGE = 500


async def run_ids(store: PostgresStore) -> AsyncIterator[UUID]:
    """All runs of the log, in id order."""
    after = UUID(int=0)
    while True:
        async with translated(), store.engine.connect() as connection:
            page = (await connection.exec_driver_sql(sql.RUN_IDS, (after, PAGE))).scalars().all()
        for run_id in page:
            yield run_id
        if len(page) < PAGE:
            return
        after = page[-1]


async def _replayed(unit: PostgresUnit, run_id: UUID) -> list[Row]:
    return fold_rows(await unit.history(run_id))


async def rebuild(store: PostgresStore) -> int:
    """Write every run's rows anew from its events; returns the number of runs."""
    count = 0
    async for run_id in run_ids(store):
        async with store.unit([run_id]) as unit:
            rows = await _replayed(unit, run_id)
            for table in sql.COLUMNS:
                await unit.execute(sql.DELETE_ROWS[table], (run_id,))
            await unit.write_rows(rows)
        count += 1
    return count


async def verify(store: PostgresStore) -> list[str]:
    """Every difference between the tables and a replay of the log."""
    differences: list[str] = []
    async for run_id in run_ids(store):
        async with store.unit([run_id]) as unit:
            try:
                expected = _keyed(await _replayed(unit, run_id))
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
    for row in await unit.execute(sql.STORED_ROWS[table], (run_id,)):
        values = {k: _plain(k, v) for k, v in row._mapping.items()}
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
