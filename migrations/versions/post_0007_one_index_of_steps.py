"""The index of steps by agent alone: releases before `pre_0005` looked for steps by it."""

from alembic import op

revision = "post_0007"
down_revision = "pre_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS anabranch.steps_requested")


def downgrade() -> None:
    raise RuntimeError("the event store is never dropped by a migration")
