"""A step has a row from when something has come of it; until then its branch says what is asked, and of whom.

Services of the release before go on writing a row when they ask for a step: it counts for more than the branch's word.
"""

from alembic import op

revision = "pre_0007"
down_revision = "pre_0006"
branch_labels = None
depends_on = None

INDEX = [
    "DROP INDEX IF EXISTS anabranch.runs_working",  # of an attempt that was cut off
    "CREATE INDEX CONCURRENTLY runs_working ON anabranch.run_rows (run_id) WHERE status IN ('running', 'paused')",
]
STATEMENTS = [
    "ALTER TABLE anabranch.step_rows SET (fillfactor = 100)",
    """
CREATE OR REPLACE VIEW anabranch.steps AS
SELECT s.run_id, s.step_id, s.branch_id, s.step_number, s.agent, s.status, s.attempt,
    q.data->'request' AS request, a.data->'response' AS response, s.action, s.error, s.worker,
    s.requested_at, s.started_at, s.finished_at,
    extract(epoch FROM s.finished_at - coalesce(s.started_at, s.requested_at))::double precision AS duration,
    s.input_tokens, s.output_tokens, s.cost
FROM anabranch.step_rows s
LEFT JOIN anabranch.events q ON q.run_id = s.run_id AND q.version = s.requested_version
LEFT JOIN anabranch.events a ON a.run_id = s.run_id AND a.version = s.result_version
UNION ALL
SELECT b.run_id, (b.branch_id || '#' || b.step_count) COLLATE "C", b.branch_id COLLATE "default", b.step_count,
    b.agent, 'requested', 1, q.data->'request', NULL, NULL, NULL, NULL, q.recorded_at, NULL, NULL, NULL, NULL, NULL,
    NULL
FROM anabranch.branch_rows b
JOIN anabranch.events q ON q.run_id = b.run_id AND q.version = b.result_version
WHERE b.status = 'running' AND NOT EXISTS (
    SELECT 1 FROM anabranch.step_rows s WHERE s.run_id = b.run_id AND s.step_id = b.branch_id || '#' || b.step_count)
""",
    """
CREATE OR REPLACE VIEW anabranch.stuck AS
SELECT b.run_id, b.branch_id, b.agent, b.status, b.spawned_at
FROM anabranch.branch_rows b
JOIN anabranch.run_rows r ON r.run_id = b.run_id
WHERE r.status NOT IN ('completed', 'failed', 'cancelled', 'rejected', 'paused')
  AND b.status IN ('pending', 'running', 'waiting')
  AND NOT EXISTS (SELECT 1 FROM anabranch.step_rows s
                  WHERE s.run_id = b.run_id AND s.status IN ('requested', 'waiting', 'failed'))
  AND NOT EXISTS (SELECT 1 FROM anabranch.timers t WHERE t.run_id = b.run_id AND t.due_at IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM anabranch.user_requests u
                  WHERE u.run_id = b.run_id AND u.status = 'open' AND u.kind <> 'notice')
  AND NOT EXISTS (SELECT 1 FROM anabranch.branch_rows p WHERE p.run_id = b.run_id
                  AND (p.status = 'pending' OR p.status = 'running' AND p.result_version IS NOT NULL))
""",
]


def upgrade() -> None:
    with op.get_context().autocommit_block():  # services of the release before go on writing meanwhile
        for statement in INDEX:
            op.execute(statement)
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
