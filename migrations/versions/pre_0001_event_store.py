"""The event store, its projections and the pinned views."""

from alembic import op

revision = "pre_0001"
down_revision = None
branch_labels = None
depends_on = None

EVENTS = """
CREATE TABLE anabranch.events (
    position bigint GENERATED ALWAYS AS IDENTITY,
    run_id uuid NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    schema_version smallint NOT NULL,
    data jsonb NOT NULL,
    message_id uuid NOT NULL,
    causation_id uuid NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (run_id, version)
);
CREATE INDEX events_in_commit_order ON anabranch.events (xid, position);
CREATE FUNCTION anabranch.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'events are append-only: % refused', TG_OP; END $$;
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON anabranch.events
    FOR EACH ROW EXECUTE FUNCTION anabranch.refuse_change();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON anabranch.events
    FOR EACH STATEMENT EXECUTE FUNCTION anabranch.refuse_change();
"""

TABLES = """
CREATE TABLE anabranch.run_rows (
    run_id uuid PRIMARY KEY,
    status text NOT NULL,
    version integer NOT NULL,
    total_steps integer NOT NULL,
    branch_count integer NOT NULL,
    parallel_branches integer NOT NULL,
    convergence_wait_time double precision NOT NULL,
    result_count integer NOT NULL,
    error jsonb,
    requested_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    finished_version integer
) WITH (fillfactor = 70);
CREATE INDEX runs_live ON anabranch.run_rows (run_id)
    WHERE status NOT IN ('completed', 'failed', 'cancelled', 'rejected');
CREATE TABLE anabranch.branch_rows (
    run_id uuid, branch_id text COLLATE "C", parent_branch_id text, type text NOT NULL, status text NOT NULL,
    agent text NOT NULL, step_count integer NOT NULL, error jsonb, result_version integer,
    spawned_at timestamptz, finished_at timestamptz,
    PRIMARY KEY (run_id, branch_id)
) WITH (fillfactor = 80);
CREATE TABLE anabranch.step_rows (
    run_id uuid, step_id text COLLATE "C", branch_id text NOT NULL, step_number integer NOT NULL,
    agent text NOT NULL, status text NOT NULL, attempt integer NOT NULL, action text, error jsonb, worker text,
    requested_version integer NOT NULL, result_version integer,
    requested_at timestamptz, started_at timestamptz, finished_at timestamptz,
    input_tokens integer, output_tokens integer, cost numeric,
    PRIMARY KEY (run_id, step_id)
) WITH (fillfactor = 80);
CREATE INDEX steps_requested ON anabranch.step_rows (agent) WHERE status = 'requested';
CREATE TABLE anabranch.convergences (
    run_id uuid, convergence_id text COLLATE "C", kind text NOT NULL, node text, status text NOT NULL,
    into_branch_id text, expected integer NOT NULL, arrived integer NOT NULL, failed integer NOT NULL,
    opened_at timestamptz, fired_at timestamptz, wait_time double precision,
    PRIMARY KEY (run_id, convergence_id)
);
CREATE TABLE anabranch.timers (
    run_id uuid, timer_id text COLLATE "C", due_at timestamptz, PRIMARY KEY (run_id, timer_id)
);
CREATE INDEX timers_due ON anabranch.timers (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE anabranch.user_requests (
    run_id uuid, request_id uuid, branch_id text NOT NULL, agent text, prompt jsonb, choices jsonb, schema jsonb,
    status text NOT NULL, value jsonb, requested_at timestamptz, answered_at timestamptz,
    PRIMARY KEY (run_id, request_id)
);
CREATE TABLE anabranch.checkpoints (
    checkpoint_id uuid PRIMARY KEY, run_id uuid NOT NULL, name text NOT NULL, version integer NOT NULL,
    created_at timestamptz NOT NULL, UNIQUE (run_id, name)
);
CREATE TABLE anabranch.snapshots (
    run_id uuid PRIMARY KEY, version integer NOT NULL, reducer text NOT NULL, data bytea NOT NULL
);
"""

VIEWS = """
CREATE VIEW anabranch.runs AS
SELECT r.run_id, r.status,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'task' ELSE s.data->'task' END AS task,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'topology' ELSE s.data->'topology' END AS topology,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'context' ELSE s.data->'context' END AS context,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'config' ELSE s.data->'config' END AS config,
    CASE WHEN s.type = 'RunRejected' THEN s.data->'request'->'labels' ELSE s.data->'labels' END AS labels,
    f.data->'result' AS result, r.result_count, r.error, r.version, r.total_steps, r.branch_count,
    r.parallel_branches, r.convergence_wait_time, r.requested_at, r.started_at, r.finished_at,
    extract(epoch FROM r.finished_at - r.started_at)::double precision AS total_duration,
    NULL::uuid AS forked_from, NULL::integer AS forked_at_version
FROM anabranch.run_rows r
LEFT JOIN anabranch.events s ON s.run_id = r.run_id AND s.version = 1
LEFT JOIN anabranch.events f ON f.run_id = r.run_id AND f.version = r.finished_version
    AND f.type = 'RunCompleted';
CREATE VIEW anabranch.branches AS
SELECT b.run_id, b.branch_id, b.parent_branch_id, b.type, b.status, b.agent, b.step_count,
    e.data->'result' AS result, b.error, b.spawned_at, b.finished_at
FROM anabranch.branch_rows b
LEFT JOIN anabranch.events e ON e.run_id = b.run_id AND e.version = b.result_version;
CREATE VIEW anabranch.steps AS
SELECT s.run_id, s.step_id, s.branch_id, s.step_number, s.agent, s.status, s.attempt,
    q.data->'request' AS request, a.data->'response' AS response, s.action, s.error, s.worker,
    s.requested_at, s.started_at, s.finished_at,
    extract(epoch FROM s.finished_at - coalesce(s.started_at, s.requested_at))::double precision AS duration,
    s.input_tokens, s.output_tokens, s.cost
FROM anabranch.step_rows s
LEFT JOIN anabranch.events q ON q.run_id = s.run_id AND q.version = s.requested_version
LEFT JOIN anabranch.events a ON a.run_id = s.run_id AND a.version = s.result_version;
CREATE VIEW anabranch.messages AS
SELECT m.run_id, m.branch_id, m.agent,
    row_number() OVER (PARTITION BY m.run_id, m.branch_id, m.agent ORDER BY m.step_number, m.half)::integer AS seq,
    m.role, m.name, m.content, m.step_id
FROM (
    SELECT s.run_id, s.branch_id, s.agent, s.step_number, 0 AS half, 'user' AS role, NULL::text AS name,
        e.data->'request' AS content, s.step_id
    FROM anabranch.step_rows s
    JOIN anabranch.events e ON e.run_id = s.run_id AND e.version = s.requested_version
    WHERE s.status = 'completed'
    UNION ALL
    SELECT s.run_id, s.branch_id, s.agent, s.step_number, 1, 'assistant', s.agent, e.data->'response', s.step_id
    FROM anabranch.step_rows s
    JOIN anabranch.events e ON e.run_id = s.run_id AND e.version = s.result_version
    WHERE s.status = 'completed'
) m;
CREATE VIEW anabranch.stuck AS
SELECT b.run_id, b.branch_id, b.agent, b.status, b.spawned_at
FROM anabranch.branch_rows b
JOIN anabranch.run_rows r ON r.run_id = b.run_id
WHERE r.status NOT IN ('completed', 'failed', 'cancelled', 'rejected', 'paused')
  AND b.status IN ('pending', 'running', 'waiting')
  AND NOT EXISTS (SELECT 1 FROM anabranch.step_rows s
                  WHERE s.run_id = b.run_id AND s.status IN ('requested', 'waiting', 'failed'))
  AND NOT EXISTS (SELECT 1 FROM anabranch.timers t WHERE t.run_id = b.run_id AND t.due_at IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM anabranch.user_requests u WHERE u.run_id = b.run_id AND u.status = 'open')
  AND NOT EXISTS (SELECT 1 FROM anabranch.branch_rows p
                  WHERE p.run_id = b.run_id AND p.status = 'pending');
"""

ROLES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'anabranch_writer') THEN
        CREATE ROLE anabranch_writer NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'anabranch_reader') THEN
        CREATE ROLE anabranch_reader NOLOGIN;
    END IF;
    GRANT USAGE ON SCHEMA anabranch TO anabranch_writer, anabranch_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA anabranch TO anabranch_writer, anabranch_reader;
    GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA anabranch TO anabranch_writer;
    REVOKE UPDATE ON anabranch.events FROM anabranch_writer;
EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
    RAISE NOTICE 'roles were left alone: %', SQLERRM;
END $$;
"""


def upgrade() -> None:
    for script in (EVENTS, TABLES, VIEWS):
        for statement in _statements(script):
            op.execute(statement)
    op.execute(ROLES)


def _statements(script: str) -> list[str]:
    """Split at line ends that close a statement; the driver prepares one at a time."""
    return [s.strip() for s in script.replace(";\n", ";\0").split("\0") if s.strip()]


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
