"""Rights of each role on each relation: services append and never change events, readers see runs, operators rebuild.

Tables of later migrations are the services' to write, and nobody else's, until their migration says otherwise.
"""

from alembic import op

revision = "pre_0004"
down_revision = "pre_0003"
branch_labels = None
depends_on = None

SEEN = (
    "anabranch.runs, anabranch.branches, anabranch.steps, anabranch.convergences, anabranch.messages, "
    "anabranch.user_requests, anabranch.checkpoints, anabranch.events, anabranch.stuck, anabranch.run_rows, "
    "anabranch.branch_rows, anabranch.step_rows, anabranch.payload_fields, anabranch.erasures, "
    "anabranch.alembic_version"
)
ROWS = (
    "anabranch.run_rows, anabranch.branch_rows, anabranch.step_rows, anabranch.convergences, anabranch.timers, "
    "anabranch.user_requests, anabranch.checkpoints"
)
APPENDED = "run_id, version, type, schema_version, data, message_id, causation_id, actor, recorded_at"
RIGHTS = {
    "anabranch_writer": [
        "GRANT SELECT ON {seen}, {rows}, anabranch.snapshots TO {role}",
        "GRANT INSERT, UPDATE ON {rows}, anabranch.snapshots TO {role}",
        "GRANT INSERT ({appended}) ON anabranch.events TO {role}",  # position and xid are the database's to choose
        "ALTER DEFAULT PRIVILEGES IN SCHEMA anabranch GRANT SELECT, INSERT, UPDATE ON TABLES TO {role}",
    ],
    "anabranch_reader": ["GRANT SELECT ON {seen} TO {role}"],
    "anabranch_operator": [
        "GRANT SELECT ON {seen}, {rows}, anabranch.snapshots TO {role}",
        "GRANT INSERT, UPDATE, DELETE ON {rows} TO {role}",
        "GRANT EXECUTE ON FUNCTION anabranch.erase(uuid, text, text) TO {role}",
    ],
}
ROLE = """
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
    RAISE NOTICE '{role} was left alone: %', SQLERRM;
END $$
"""
GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN
        GRANT USAGE ON SCHEMA anabranch TO {role};
        REVOKE ALL ON ALL TABLES IN SCHEMA anabranch FROM {role};
        {grants}
    END IF;
END $$
"""


def upgrade() -> None:
    for role, rights in RIGHTS.items():
        op.execute(ROLE.format(role=role))
        grants = "\n".join(f"{right.format(role=role, seen=SEEN, rows=ROWS, appended=APPENDED)};" for right in rights)
        op.execute(GRANTS.format(role=role, grants=grants))


def downgrade() -> None:
    raise RuntimeError("rights are given, changed and taken by later migrations")
