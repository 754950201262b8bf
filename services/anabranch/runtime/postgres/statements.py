"""SQL of the event store: one round trip a statement, arrays instead of loops."""

from collections.abc import Sequence
from typing import Any

from anabranch.runtime.ports import Recorded
from anabranch_contracts.catalog import encode

_EVENT = (
    "e.run_id, e.version, e.type, e.schema_version, e.data::text AS data, e.recorded_at, e.message_id, "
    "e.causation_id, e.actor, e.position"
)

LOCK_HEADS = "SELECT run_id, version FROM anabranch.run_rows WHERE run_id = ANY($1::uuid[]) ORDER BY run_id FOR UPDATE"
READ = (
    f"SELECT {_EVENT} FROM unnest($1::uuid[], $2::integer[]) AS k(run_id, version) "
    "JOIN anabranch.events e ON e.run_id = k.run_id AND e.version > k.version ORDER BY e.run_id, e.version"
)
PAST = "SELECT pg_advisory_xact_lock_shared(hashtextextended('anabranch past ' || $1::uuid, 0))"
"""Whoever copies a run's past keeps it from being erased meanwhile, and erasing from missing the copy."""
CAUSED_BY = (
    f"SELECT {_EVENT} FROM anabranch.events e "
    "WHERE e.run_id = ANY($1::uuid[]) AND e.causation_id = ANY($2::uuid[]) ORDER BY e.run_id, e.version"
)
SNAPSHOTS = "SELECT run_id, version, data FROM anabranch.snapshots WHERE run_id = ANY($1::uuid[]) AND reducer = $2"
SAVE_SNAPSHOT = (
    "INSERT INTO anabranch.snapshots AS s (run_id, version, reducer, data) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (run_id) DO UPDATE SET version = excluded.version, reducer = excluded.reducer, "
    "data = excluded.data"
)
APPEND = (
    "INSERT INTO anabranch.events "
    "(run_id, version, type, schema_version, data, message_id, causation_id, actor, recorded_at) "
    "SELECT run_id, version, type, schema_version, data::jsonb, message_id, causation_id, actor, recorded_at "
    "FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::smallint[], $5::text[], $6::uuid[], $7::uuid[], "
    "$8::text[], $9::timestamptz[]) WITH ORDINALITY AS "
    "n(run_id, version, type, schema_version, data, message_id, causation_id, actor, recorded_at, place), locked "
    "ORDER BY place"
)
SUBSCRIBE = (
    f"SELECT {_EVENT}, e.xid::text AS xid FROM anabranch.events e "
    "WHERE (e.xid, e.position) > ($1::text::xid8, $2::bigint) "
    "AND e.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY e.xid, e.position LIMIT $3::integer"
)
PROBE = (
    "SELECT current_setting('transaction_read_only') = 'on' "
    "FROM (SELECT count(*) FROM (SELECT FROM anabranch.run_rows LIMIT 1) AS readable) AS answered"
)
LIVE_RUNS = (
    "SELECT run_id FROM anabranch.run_rows WHERE status NOT IN ('completed', 'failed', 'cancelled', 'rejected') "
    "AND ($1::uuid IS NULL OR run_id > $1) ORDER BY run_id LIMIT $2::integer"
)
DUE_RUNS = (
    "SELECT run_id, min(due_at) AS due_at FROM "
    "(SELECT run_id, due_at FROM anabranch.timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2::integer) AS due "
    "GROUP BY run_id"
)

KEYS: dict[str, tuple[str, ...]] = {
    "run_rows": ("run_id",),
    "branch_rows": ("run_id", "branch_id"),
    "step_rows": ("run_id", "step_id"),
    "convergences": ("run_id", "convergence_id"),
    "timers": ("run_id", "timer_id"),
    "user_requests": ("run_id", "request_id"),
    "checkpoints": ("run_id", "checkpoint_id"),
}
COLUMNS: dict[str, str] = {
    "run_rows": "run_id status version total_steps branch_count parallel_branches convergence_wait_time "
    "result_count error requested_at started_at finished_at finished_version forked_from forked_at_version",
    "branch_rows": "run_id branch_id parent_branch_id type status agent step_count error result_version "
    "spawned_at finished_at",
    "step_rows": "run_id step_id branch_id step_number agent status attempt action error worker "
    "requested_version result_version requested_at started_at finished_at input_tokens output_tokens cost",
    "convergences": "run_id convergence_id kind node status into_branch_id expected arrived failed opened_at "
    "fired_at wait_time",
    "timers": "run_id timer_id due_at",
    "user_requests": "run_id request_id branch_id agent kind prompt choices schema status value requested_at "
    "answered_at",
    "checkpoints": "checkpoint_id run_id name version created_at",
}


def _upsert(table: str, place: int = 1, after: str = "") -> str:
    columns = COLUMNS[table].split()
    key, names = ", ".join(KEYS[table]), ", ".join(columns)
    changes = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in KEYS[table])
    return (
        f"INSERT INTO anabranch.{table} ({names}) "
        f"SELECT {names} FROM jsonb_populate_recordset(NULL::anabranch.{table}, ${place}::jsonb){after} "
        f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
    )


UPSERT = {table: _upsert(table) for table in COLUMNS}
WITH_EVENTS = ("run_rows", "branch_rows", "step_rows")
"""Tables that change with nearly every event: their rows are written by the statement that appends."""
_RUNS, _BRANCHES, _STEPS = (_upsert(table, 10 + i, ", locked") for i, table in enumerate(WITH_EVENTS))
RECORD = (
    f"WITH heads AS MATERIALIZED ({LOCK_HEADS}), locked AS MATERIALIZED (SELECT count(*) FROM heads), "
    f"appended AS ({APPEND}), runs AS ({_RUNS}), branches AS ({_BRANCHES}) {_STEPS}"
)
"""The heads are locked before anything is written, so that two writers of the same runs never lock crosswise."""

DELETE_ROWS = {table: f"DELETE FROM anabranch.{table} WHERE run_id = ANY($1::uuid[])" for table in COLUMNS}
STORED_ROWS = {
    table: f"SELECT {', '.join(columns.split())} FROM anabranch.{table} WHERE run_id = $1"
    for table, columns in COLUMNS.items()
}
STREAMS = (
    "SELECT r.run_id, (SELECT max(e.version) FROM anabranch.events e WHERE e.run_id = r.run_id) AS version "
    "FROM anabranch.events r WHERE r.version = 1 AND r.run_id > $1 ORDER BY r.run_id LIMIT $2::integer"
)


def event_columns(events: Sequence[Recorded]) -> tuple[list[Any], ...]:
    """The arrays of `APPEND`, the first nine of `RECORD`."""
    encoded = [encode(one.event) for one in events]
    return (
        [one.run_id for one in events],
        [one.version for one in events],
        [kind for kind, _, _ in encoded],
        [schema_version for _, schema_version, _ in encoded],
        [data.decode() for _, _, data in encoded],
        [one.message_id for one in events],
        [one.causation_id for one in events],
        [one.actor for one in events],
        [one.at for one in events],
    )
