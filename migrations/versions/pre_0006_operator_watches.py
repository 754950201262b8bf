"""Whoever operates recovers, and agrees the mark with the broker: services that start then find nothing to do."""

from alembic import op

revision = "pre_0006"
down_revision = "pre_0005"
branch_labels = None
depends_on = None

RIGHT = """
DO $$
BEGIN
    GRANT SELECT, UPDATE ON anabranch.watch TO anabranch_operator;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'rights were left alone: %', SQLERRM;
END $$
"""


def upgrade() -> None:
    op.execute(RIGHT)


def downgrade() -> None:
    raise RuntimeError("rights are given, changed and taken by later migrations")
