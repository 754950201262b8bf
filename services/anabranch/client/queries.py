"""Questions to the projections, in plain SQL; rows come back as dictionaries."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from anabranch.runtime.postgres.engine import translated
from anabranch.runtime.postgres.watch import ASKED

Row = dict[str, Any]
RUNS = """SELECT run_id, status, task, total_steps, branch_count, requested_at, finished_at, total_duration
FROM anabranch.runs WHERE $1::text IS NULL OR status = $1 ORDER BY requested_at DESC LIMIT $2::integer"""
RUN = "SELECT * FROM anabranch.runs WHERE run_id = $1"
BRANCHES = "SELECT * FROM anabranch.branches WHERE run_id = $1 ORDER BY spawned_at, branch_id"
BRANCH = "SELECT status FROM anabranch.branch_rows WHERE run_id = $1 AND branch_id = $2"
STEPS = "SELECT * FROM anabranch.steps WHERE run_id = $1 ORDER BY requested_at, branch_id, step_number"
CONVERGENCES = "SELECT * FROM anabranch.convergences WHERE run_id = $1 ORDER BY opened_at, convergence_id"
EVENTS = """SELECT position, run_id, version, type, schema_version, data, message_id, causation_id, actor,
recorded_at FROM anabranch.events WHERE run_id = $1 AND version > $2::integer ORDER BY version"""
AGENTS = "SELECT agent FROM anabranch.step_rows UNION SELECT agent FROM anabranch.branch_rows"
STUCK = "SELECT * FROM anabranch.stuck LIMIT 100"
WAITING = f"""SELECT b.agent, count(*)::integer AS steps, min(q.recorded_at) AS since {ASKED}
GROUP BY b.agent ORDER BY b.agent"""
FIND = "SELECT run_id FROM anabranch.run_rows WHERE starts_with(run_id::text, $1) ORDER BY run_id LIMIT 2"

_INBOX = """SELECT request_id, run_id, branch_id, agent, kind, prompt, choices, schema, requested_at
FROM anabranch.user_requests WHERE status = 'open'"""
INBOX = f"{_INBOX} ORDER BY requested_at, request_id LIMIT $1::integer"
INBOX_OF_RUN = f"{_INBOX} AND run_id = $1 ORDER BY requested_at, request_id"
REQUEST = """SELECT run_id, request_id, kind, status, prompt, choices FROM anabranch.user_requests
WHERE starts_with(request_id::text, $1) ORDER BY (status = 'open') DESC, requested_at LIMIT 3"""
CHECKPOINTS = "SELECT * FROM anabranch.checkpoints WHERE run_id = $1 ORDER BY version, created_at"
CHECKPOINT = "SELECT * FROM anabranch.checkpoints WHERE checkpoint_id = $1"
CHECKPOINT_NAMED = "SELECT * FROM anabranch.checkpoints WHERE run_id = $1 AND name = $2"
OF_SESSION = """SELECT run_id FROM anabranch.runs WHERE run_id::text = $1 OR context->>'session_id' = $1
ORDER BY requested_at DESC LIMIT 1"""
TERMINAL = ("completed", "failed", "cancelled", "rejected")
METRICS = ("total_steps", "branch_count", "parallel_branches", "convergence_wait_time", "total_duration")


async def rows(engine: AsyncEngine, statement: str, *parameters: Any) -> list[Row]:
    """All rows of one of the statements above."""
    async with translated(), engine.connect() as connection:
        found = await connection.exec_driver_sql(statement, parameters)
        return [dict(row._mapping) for row in found]


async def run(engine: AsyncEngine, run_id: UUID) -> Row | None:
    """One run, or None."""
    found = await rows(engine, RUN, run_id)
    return found[0] if found else None


async def outcome(engine: AsyncEngine, run_id: UUID) -> Row | None:
    """What the terminal message of a run says; None while it is not over."""
    row = await run(engine, run_id)
    if row is None or row["status"] not in TERMINAL:
        return None
    body = {name: row[name] for name in ("status", "result", "result_count", "error")}
    return {"run_id": str(run_id), **body, "metrics": {name: row[name] for name in METRICS}}
