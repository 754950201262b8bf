"""Where the watch over log and broker stands: the mark both know, and up to where runs were looked at."""

from alembic import op

revision = "pre_0005"
down_revision = "pre_0004"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
CREATE TABLE anabranch.watch (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    mark uuid,
    looked_to xid8 NOT NULL,
    horizon xid8 NOT NULL,
    looked_at timestamptz NOT NULL DEFAULT 'epoch'
)
""",
    "INSERT INTO anabranch.watch (looked_to, horizon) "
    "SELECT xmin, xmin FROM pg_snapshot_xmin(pg_current_snapshot()) AS xmin",  # the first look looks at everything
    """
DO $$
BEGIN
    REVOKE ALL ON anabranch.watch FROM anabranch_writer;
    GRANT SELECT, UPDATE ON anabranch.watch TO anabranch_writer;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'rights were left alone: %', SQLERRM;
END $$
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
