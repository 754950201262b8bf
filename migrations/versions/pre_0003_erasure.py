"""Erasure: payloads of a run that is over are replaced by markers, under audit, and the shape stays.

The log stays append-only. The trigger lets one change through, whoever makes it: that which `erased_data` makes of
an event, in a transaction that has written its row of `erasures`.
"""

from alembic import op

revision = "pre_0003"
down_revision = "pre_0002"
branch_labels = None
depends_on = None

FIELDS = {
    "RunStarted": "task=value topology=topology topology_hash=identity context=value config=settings labels=value "
    "request_hash=value reply_correlation=address",
    "RunRejected": "errors=value request=value request_hash=value reply_correlation=address",
    "OutcomeAwaited": "reply_correlation=address",
    "RunForked": "request_hash=value topology=topology topology_hash=identity context=value reply_correlation=address",
    "RunPaused": "reason=value",
    "RuleApplied": "reason=value",
    "RunCompleted": "result=value",
    "RunFailed": "error=error",
    "RunCancelled": "reason=value",
    "BranchSpawned": "request=value",
    "BranchHeld": "request=value",
    "BranchParked": "value=value",
    "ResultDelivered": "value=value",
    "BranchCompleted": "result=value",
    "BranchFailed": "error=error",
    "BranchCancelled": "reason=value",
    "BranchOrphaned": "error=error",
    "StepRequested": "request=value steering=value",
    "StepCompleted": "response=value context_updates=value started_at=time finished_at=time",
    "StepSuspended": "call=call started_at=time finished_at=time",
    "StepRejected": "reason=value response=value started_at=time finished_at=time",
    "StepFailed": "error=error response=value started_at=time finished_at=time",
    "StepRetryScheduled": "request=new",
    "ContributionParked": "value=value",
    "ContributionCancelled": "reason=value",
    "ForkSettled": "value=value",
    "BranchConverged": "value=value",
    "UserInputRequested": "prompt=value choices=value schema=value default=value",
    "UserInputProvided": "value=value",
}

TABLES = [
    """
CREATE TABLE anabranch.payload_fields (
    type text, field text, kind text NOT NULL, PRIMARY KEY (type, field)
)
""",
    """
CREATE TABLE anabranch.erasures (
    erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL, first_version integer NOT NULL, last_version integer NOT NULL,
    actor text NOT NULL, login text NOT NULL DEFAULT session_user, reason text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(), xid xid8 NOT NULL DEFAULT pg_current_xact_id()
)
""",
    "CREATE INDEX erasures_by_run ON anabranch.erasures (run_id)",
    "CREATE INDEX runs_forked ON anabranch.run_rows (forked_from) WHERE forked_from IS NOT NULL",
]

MARKERS = [
    r"""
CREATE FUNCTION anabranch.erased_value(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$
SELECT CASE
    WHEN value IN ('null', '{}', '[]', '""') THEN value
    WHEN jsonb_typeof(value) = 'object' THEN '{"erased": true}'
    WHEN jsonb_typeof(value) = 'array' THEN '["[erased]"]'
    ELSE '"[erased]"'
END $$
""",
    r"""
CREATE FUNCTION anabranch.erased_error(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF jsonb_typeof(value) = 'object' THEN
        RETURN (SELECT coalesce(jsonb_object_agg(e.key, CASE
                WHEN e.key IN ('kind', 'agent', 'branch_id') THEN e.value
                WHEN jsonb_typeof(e.value) IN ('number', 'boolean') THEN e.value
                WHEN e.key = 'type' AND e.value #>> '{}' ~ '^[A-Za-z_][A-Za-z0-9_.]{0,99}$' THEN e.value
                WHEN e.key = 'causes' THEN anabranch.erased_error(e.value)
                ELSE anabranch.erased_value(e.value) END), '{}')
            FROM jsonb_each(value) AS e);
    ELSIF jsonb_typeof(value -> 0) = 'object' THEN
        RETURN (SELECT jsonb_agg(anabranch.erased_error(e.value) ORDER BY e.place)
            FROM jsonb_array_elements(value) WITH ORDINALITY AS e(value, place));
    END IF;
    RETURN anabranch.erased_value(value);
END $$
""",
    r"""
CREATE FUNCTION anabranch.erased_conditions(parts jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$
SELECT coalesce(jsonb_agg(CASE WHEN jsonb_typeof(e.value -> 'condition') = 'string'
        THEN e.value || '{"condition": "true"}' ELSE e.value END ORDER BY e.place), '[]')
FROM jsonb_array_elements(parts) WITH ORDINALITY AS e(value, place) $$
""",
    r"""
CREATE FUNCTION anabranch.erased_topology(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$
SELECT CASE WHEN jsonb_typeof(value) <> 'object' THEN value ELSE value || jsonb_build_object(
    'edges', anabranch.erased_conditions(value -> 'edges'), 'rules', anabranch.erased_conditions(value -> 'rules'),
    'metadata', anabranch.erased_value(value -> 'metadata')) END $$
""",
    r"""
CREATE FUNCTION anabranch.erased_field(kind text, value jsonb, run_id uuid, version integer)
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
SELECT CASE
    WHEN value IS NULL OR value = 'null' OR kind = 'address' THEN 'null'
    WHEN kind = 'error' THEN anabranch.erased_error(value)
    WHEN kind = 'topology' THEN anabranch.erased_topology(value)
    WHEN kind = 'identity' THEN to_jsonb(format('erased:%s:%s', run_id, version))
    WHEN kind = 'settings' THEN CASE WHEN jsonb_typeof(value #> '{retry,non_retryable}') = 'array'
        THEN jsonb_set(value, '{retry,non_retryable}', '[]') ELSE value END
    WHEN kind = 'call' THEN value || '{"print": "[erased]"}'
    WHEN kind = 'new' THEN jsonb_build_object('new', anabranch.erased_value(value -> 'new'))
    WHEN kind = 'time' AND value #>> '{}' ~ '^[0-9TZWz:. +-]{0,40}$' THEN value
    ELSE anabranch.erased_value(value)
END $$
""",
    r"""
CREATE FUNCTION anabranch.erased_data(kind_of_event text, data jsonb, run_id uuid, version integer)
RETURNS jsonb LANGUAGE sql STABLE AS $$
SELECT data || coalesce((
    SELECT jsonb_object_agg(f.field, anabranch.erased_field(f.kind, data -> f.field, run_id, version))
    FROM anabranch.payload_fields f WHERE f.type = kind_of_event AND data ? f.field), '{}') $$
""",
]

GUARDS = [
    """
CREATE OR REPLACE FUNCTION anabranch.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% are append-only: % refused', TG_TABLE_NAME, TG_OP; END $$
""",
    """
CREATE FUNCTION anabranch.refuse_all_but_erasure() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    otherwise anabranch.events := NEW;
BEGIN
    otherwise.data := OLD.data;
    IF otherwise IS NOT DISTINCT FROM OLD
        AND NEW.data = anabranch.erased_data(OLD.type, OLD.data, OLD.run_id, OLD.version)
        AND EXISTS (SELECT FROM anabranch.erasures e WHERE e.run_id = OLD.run_id AND e.xid = pg_current_xact_id())
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'events are append-only: UPDATE refused';
END $$
""",
    "DROP TRIGGER events_append_only ON anabranch.events",
    """
CREATE TRIGGER events_append_only BEFORE DELETE ON anabranch.events
FOR EACH ROW EXECUTE FUNCTION anabranch.refuse_change()
""",
    """
CREATE TRIGGER events_only_erased BEFORE UPDATE ON anabranch.events
FOR EACH ROW EXECUTE FUNCTION anabranch.refuse_all_but_erasure()
""",
    """
CREATE TRIGGER erasures_append_only BEFORE UPDATE OR DELETE ON anabranch.erasures
FOR EACH ROW EXECUTE FUNCTION anabranch.refuse_change()
""",
    """
CREATE TRIGGER erasures_no_truncate BEFORE TRUNCATE ON anabranch.erasures
FOR EACH STATEMENT EXECUTE FUNCTION anabranch.refuse_change()
""",
]

ERASE = """
CREATE FUNCTION anabranch.erase(run uuid, actor text, reason text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head anabranch.run_rows;
    changed integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('anabranch past ' || run, 0));
    SELECT * INTO head FROM anabranch.run_rows r WHERE r.run_id = run FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % is unknown', run;
    ELSIF head.status NOT IN ('completed', 'failed', 'cancelled', 'rejected') THEN
        RAISE EXCEPTION 'run % is %, and what lives cannot be erased; cancel it first', run, head.status;
    END IF;
    IF NOT EXISTS (SELECT FROM anabranch.events e
        WHERE e.run_id = run AND e.data <> anabranch.erased_data(e.type, e.data, e.run_id, e.version))
    THEN
        RETURN 0;
    END IF;
    INSERT INTO anabranch.erasures (run_id, first_version, last_version, actor, reason)
    VALUES (run, 1, head.version, actor, reason);
    WITH erased AS MATERIALIZED (
        SELECT e.version, anabranch.erased_data(e.type, e.data, e.run_id, e.version) AS data
        FROM anabranch.events e WHERE e.run_id = run
    )
    UPDATE anabranch.events e SET data = n.data FROM erased n
    WHERE e.run_id = run AND e.version = n.version AND e.data <> n.data;
    GET DIAGNOSTICS changed = ROW_COUNT;
    INSERT INTO anabranch.events
        (run_id, version, type, schema_version, data, message_id, causation_id, actor, recorded_at)
    SELECT run, head.version + 1, 'RunErased', 1, jsonb_build_object('upto', head.version), id, id, 'operator', now()
    FROM gen_random_uuid() AS id;
    UPDATE anabranch.run_rows r SET version = r.version + 1, error = anabranch.erased_error(r.error)
    WHERE r.run_id = run;
    UPDATE anabranch.branch_rows b SET error = anabranch.erased_error(b.error)
    WHERE b.run_id = run AND b.error IS NOT NULL;
    UPDATE anabranch.step_rows s SET error = anabranch.erased_error(s.error)
    WHERE s.run_id = run AND s.error IS NOT NULL;
    UPDATE anabranch.user_requests u SET prompt = anabranch.erased_value(u.prompt),
        choices = anabranch.erased_value(u.choices), schema = anabranch.erased_value(u.schema),
        value = anabranch.erased_value(u.value)
    WHERE u.run_id = run;
    DELETE FROM anabranch.snapshots s WHERE s.run_id = run;
    DELETE FROM anabranch.mailbox m WHERE run::text IN (m.body ->> 'run_id', m.body ->> 'new_run_id');
    RETURN changed;
END $$
"""

RIGHTS = [
    "REVOKE ALL ON FUNCTION anabranch.erase(uuid, text, text) FROM PUBLIC",
    """
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'anabranch_operator') THEN
        CREATE ROLE anabranch_operator NOLOGIN;
    END IF;
    GRANT anabranch_reader TO anabranch_operator;
    GRANT EXECUTE ON FUNCTION anabranch.erase(uuid, text, text) TO anabranch_operator;
    GRANT SELECT ON anabranch.payload_fields, anabranch.erasures TO anabranch_writer, anabranch_reader;
EXCEPTION WHEN insufficient_privilege OR undefined_object OR duplicate_object OR unique_violation THEN
    RAISE NOTICE 'roles were left alone: %', SQLERRM;
END $$
""",
]


def upgrade() -> None:
    for statement in [*TABLES, *MARKERS, *GUARDS, ERASE, *RIGHTS]:
        op.execute(statement)
    fields = [(kind, *one.split("=")) for kind, listed in FIELDS.items() for one in listed.split()]
    values = ", ".join(f"('{kind}', '{field}', '{what}')" for kind, field, what in fields)
    op.execute(f"INSERT INTO anabranch.payload_fields VALUES {values}")


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
