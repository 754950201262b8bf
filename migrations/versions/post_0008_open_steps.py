"""Rows of steps that were only asked for: releases before `pre_0007` wrote them, and looked for them by an index."""

from alembic import op

revision = "post_0008"
down_revision = "pre_0007"
branch_labels = None
depends_on = None

ASKED = "SELECT run_id FROM anabranch.step_rows WHERE status = 'requested' AND attempt = 1"
STATEMENTS = [
    f"SELECT 1 FROM anabranch.run_rows WHERE run_id IN ({ASKED}) ORDER BY run_id FOR UPDATE",  # as services lock them
    """
UPDATE anabranch.branch_rows b SET result_version = s.requested_version FROM anabranch.step_rows s
WHERE s.status = 'requested' AND s.attempt = 1 AND b.run_id = s.run_id AND b.branch_id = s.branch_id
""",
    "DELETE FROM anabranch.step_rows WHERE status = 'requested' AND attempt = 1",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    with op.get_context().autocommit_block():
        for index in ("steps_requested", "steps_requested_since"):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS anabranch.{index}")


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
