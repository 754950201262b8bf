"""People, checkpoints and forks of runs: what kind of answer is wanted, and where a run comes from."""

from alembic import op

revision = "pre_0002"
down_revision = "pre_0001"
branch_labels = None
depends_on = None

STATEMENTS = [
    "ALTER TABLE anabranch.user_requests ADD COLUMN kind text NOT NULL DEFAULT 'question'",
    "CREATE INDEX user_requests_open ON anabranch.user_requests (requested_at) WHERE status = 'open'",
    "ALTER TABLE anabranch.checkpoints DROP CONSTRAINT checkpoints_pkey",
    "ALTER TABLE anabranch.checkpoints ADD PRIMARY KEY (run_id, checkpoint_id)",
    "CREATE INDEX checkpoints_by_id ON anabranch.checkpoints (checkpoint_id)",
    "CREATE INDEX user_requests_by_id ON anabranch.user_requests (request_id)",
    "ALTER TABLE anabranch.run_rows ADD COLUMN forked_from uuid, ADD COLUMN forked_at_version integer",
    """
CREATE TABLE anabranch.mailbox (
    message_id uuid PRIMARY KEY, routing_key text NOT NULL, body jsonb NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(), outcome jsonb, answered_at timestamptz
)
""",
    "CREATE INDEX mailbox_open ON anabranch.mailbox (sent_at) WHERE outcome IS NULL",
    """
CREATE OR REPLACE VIEW anabranch.runs AS
SELECT r.run_id, r.status,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'task' ELSE s.data->'task' END AS task,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'topology'
        ELSE coalesce(k.topology, s.data->'topology') END AS topology,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'context'
        ELSE coalesce(k.context, s.data->'context') END AS context,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'config' ELSE s.data->'config' END AS config,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'labels' ELSE s.data->'labels' END AS labels,
    f.data->'result' AS result, r.result_count, r.error, r.version, r.total_steps, r.branch_count,
    r.parallel_branches, r.convergence_wait_time, r.requested_at, r.started_at, r.finished_at,
    extract(epoch FROM r.finished_at - r.started_at)::double precision AS total_duration,
    r.forked_from, r.forked_at_version
FROM anabranch.run_rows r
LEFT JOIN anabranch.events s ON s.run_id = r.run_id AND s.version = 1
LEFT JOIN LATERAL (
    SELECT (array_agg(e.data->'topology' ORDER BY e.version DESC)
            FILTER (WHERE jsonb_typeof(e.data->'topology') = 'object'))[1] AS topology,
        (array_agg(e.data->'context' ORDER BY e.version DESC)
            FILTER (WHERE jsonb_typeof(e.data->'context') = 'object'))[1] AS context
    FROM anabranch.events e
    WHERE r.forked_from IS NOT NULL AND e.run_id = r.run_id AND e.type = 'RunForked'
) k ON r.forked_from IS NOT NULL
LEFT JOIN anabranch.events f ON f.run_id = r.run_id AND f.version = r.finished_version
    AND f.type = 'RunCompleted'
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
  AND NOT EXISTS (SELECT 1 FROM anabranch.branch_rows p
                  WHERE p.run_id = b.run_id AND p.status = 'pending')
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
