"""What the watch over log and broker asks the database: where it stands, what stands still, what is asked for.

The watch follows the log at a distance of one look. A look takes the oldest transaction in progress as its horizon;
the next one considers what was committed below that and has been the last word on its run ever since: each run once
for each time it comes to rest, whatever the number of those that rest already. A log that was restored from a dump has
transaction ids of another server, which may lie ahead of this one's: there the watch starts anew.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from anabranch.runtime.ports import Asked, Lookout

PATIENT = "SET LOCAL idle_in_transaction_session_timeout = 0"  # a recovery may take minutes, in other sessions
HOLD = "SELECT pg_try_advisory_xact_lock(hashtext('anabranch watch'))"
WRITE = "UPDATE anabranch.watch SET looked_at = looked_at"
TABLES = "(SELECT oid FROM pg_database WHERE datname = current_database()), 'anabranch.events'::regclass::oid"
IDENTITY = (
    "SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), "
    f"substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), {TABLES})"
)
LESS = f"SELECT concat_ws('/', {TABLES})"
LOOKOUT = (
    "SELECT w.mark, w.looked_at, extract(epoch FROM clock_timestamp() - w.looked_at)::double precision AS age, "
    "w.looked_to > s.next OR EXISTS (SELECT 1 FROM anabranch.events e WHERE e.xid >= w.looked_to AND e.xid < s.next) "
    "AS moved, CASE WHEN NOT EXISTS (SELECT 1 FROM anabranch.events e WHERE e.xid >= s.next) THEN s.now::text END "
    "AS moment FROM anabranch.watch w, (SELECT pg_current_snapshot() AS now, "
    "pg_snapshot_xmax(pg_current_snapshot()) AS next) AS s"
)
STANDING = (
    "SELECT DISTINCT e.run_id FROM anabranch.watch w "
    "JOIN anabranch.events e ON e.xid >= w.looked_to AND e.xid < w.horizon "
    "JOIN anabranch.run_rows r ON r.run_id = e.run_id AND r.version = e.version "
    "WHERE r.status IN ('pending', 'running') ORDER BY e.run_id"
)
LOOKED = (
    "UPDATE anabranch.watch SET mark = $1, looked_to = least(horizon, pg_snapshot_xmin(pg_current_snapshot())), "
    "horizon = pg_snapshot_xmin(pg_current_snapshot()), looked_at = clock_timestamp()"
)
ASKED_SINCE = (
    "SELECT e.run_id, e.data->>'step_id' AS step_id, (e.data->>'attempt')::integer AS attempt FROM anabranch.events e "
    "WHERE e.xid >= pg_snapshot_xmin($1::text::pg_snapshot) "
    "AND NOT pg_visible_in_snapshot(e.xid, $1::text::pg_snapshot) AND e.type = 'StepRequested' AND e.run_id = ANY($2)"
)
ASKED = (
    "FROM anabranch.run_rows r JOIN anabranch.branch_rows b ON b.run_id = r.run_id AND b.status = 'running' "
    "LEFT JOIN anabranch.step_rows s ON s.run_id = b.run_id AND s.step_id = b.branch_id || '#' || b.step_count "
    "JOIN anabranch.events q ON q.run_id = b.run_id AND q.version = coalesce(s.requested_version, b.result_version) "
    "WHERE r.status IN ('running', 'paused') AND coalesce(s.status, 'requested') = 'requested'"
)
"""The step of each branch `b` that is asked for by `q`, with its row `s` where it has been tried before.

The cost is that of the branches of runs that work; what rests and what is over are not looked at.
"""
ASKED_AGENTS = f"SELECT DISTINCT b.agent {ASKED} AND q.recorded_at < $1"
ASKED_STEPS = (
    "SELECT a.*, (e.data->'config'->>'step_timeout')::double precision AS timeout FROM ("
    "SELECT b.run_id, b.branch_id || '#' || b.step_count AS step_id, coalesce(s.attempt, 1) AS attempt, "
    f"q.recorded_at AS requested_at {ASKED} AND b.agent = $1 AND q.recorded_at < $2 "
    "AND ($3::uuid IS NULL OR r.run_id > $3) ORDER BY r.run_id FETCH FIRST ($4::integer) ROWS WITH TIES) AS a "
    "JOIN anabranch.events e ON e.run_id = a.run_id AND e.version = 1 ORDER BY a.run_id, a.requested_at"
)


@asynccontextmanager
async def hold(engine: AsyncEngine) -> AsyncIterator[bool]:
    """The lock of the watch, as long as this transaction is open; it has no snapshot and holds nobody up.

    Whoever gets it has written to the watch: where that fails nobody leaves marks that are never agreed.
    """
    async with engine.begin() as connection:
        await connection.exec_driver_sql(PATIENT)
        held = bool((await connection.exec_driver_sql(HOLD)).scalar())
        if held:
            async with engine.begin() as writing:  # in a transaction of its own: this one must not hold back horizons
                await writing.exec_driver_sql(WRITE)
        yield held


async def lookout(engine: AsyncEngine) -> Lookout:
    """Where the watch stands."""
    async with engine.connect() as connection:
        row = (await connection.exec_driver_sql(LOOKOUT)).one()
        return Lookout(await _identity(connection), row.mark, row.looked_at, row.age, row.moved, row.moment)


async def _identity(connection: AsyncConnection) -> str:
    """Another one after a promotion, a restore to a point in time, or a restore of a dump."""
    try:
        async with connection.begin_nested():
            return str((await connection.exec_driver_sql(IDENTITY)).scalar())
    except ProgrammingError:  # whoever runs the server may keep its control data to himself
        return str((await connection.exec_driver_sql(LESS)).scalar())


async def looked(engine: AsyncEngine, mark: UUID | None) -> None:
    """Note that somebody looked."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql(LOOKED, (mark,))


async def standing(engine: AsyncEngine) -> list[UUID]:
    """Runs that work, and have stood still since the last look."""
    return [row.run_id for row in await _rows(engine, STANDING)]


async def asked_since(engine: AsyncEngine, moment: str, run_ids: Sequence[UUID]) -> set[tuple[UUID, str, int]]:
    """Steps that were asked for by what was committed since; no clock of a service has a say in it."""
    rows = await _rows(engine, ASKED_SINCE, moment, list(run_ids))
    return {(row.run_id, row.step_id, row.attempt) for row in rows}


async def asked_agents(engine: AsyncEngine, before: datetime) -> list[str]:
    """Whose steps are asked for, since before then."""
    return [row.agent for row in await _rows(engine, ASKED_AGENTS, before)]


async def asked_steps(engine: AsyncEngine, *wanted: Any) -> list[Asked]:
    """A page of an agent's steps by run; those of one run are on one page."""
    rows = await _rows(engine, ASKED_STEPS, *wanted)
    return [Asked(row.run_id, row.step_id, row.attempt, row.requested_at, row.timeout) for row in rows]


async def _rows(engine: AsyncEngine, statement: str, *parameters: Any) -> list[Any]:
    async with engine.connect() as connection:
        return list(await connection.exec_driver_sql(statement, parameters))
