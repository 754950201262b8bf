"""The schema that everybody may rely on: pinned relations and columns, rights, and a migration that may be repeated."""

import asyncio
import sys

import asyncpg
import pytest

from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.schema import current, newest

PINNED = {
    "runs": "run_id status task topology context config labels result result_count error version total_steps "
    "branch_count parallel_branches convergence_wait_time requested_at started_at finished_at total_duration "
    "forked_from forked_at_version",
    "branches": "run_id branch_id parent_branch_id type status agent step_count result error spawned_at finished_at",
    "steps": "run_id step_id branch_id step_number agent status attempt request response action error worker "
    "requested_at started_at finished_at duration input_tokens output_tokens cost",
    "convergences": "run_id convergence_id kind node status into_branch_id expected arrived failed opened_at "
    "fired_at wait_time",
    "messages": "run_id branch_id agent seq role name content step_id",
    "user_requests": "run_id request_id branch_id agent prompt choices schema status value requested_at answered_at",
    "checkpoints": "checkpoint_id run_id name version created_at",
    "events": "position run_id version type schema_version data message_id causation_id actor recorded_at",
    "stuck": "run_id branch_id",
}
TYPES = {"run_id": "uuid", "total_duration": "double precision", "duration": "double precision", "cost": "numeric"}


async def _columns(url: str, relation: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'anabranch' AND table_name = $1",
            relation,
        )
    finally:
        await connection.close()
    return {row["column_name"]: row["data_type"] for row in rows}


@pytest.mark.parametrize("relation", PINNED)
async def test_pinned_columns_are_there(database_url: str, relation: str) -> None:
    found = await _columns(database_url, relation)
    assert set(PINNED[relation].split()) <= set(found)
    for column, kind in found.items():
        assert TYPES.get(column, kind) == kind
        if column.endswith("_at"):
            assert kind == "timestamp with time zone"


async def test_migrating_again_and_by_two_at_once_changes_nothing(empty_database_url: str) -> None:
    assert await current(empty_database_url) is None
    module = "anabranch.runtime.postgres.migrate"
    code = f"import asyncio, {module} as m; asyncio.run(m.upgrade({empty_database_url!r}))"
    others = [await asyncio.create_subprocess_exec(sys.executable, "-c", code) for _ in range(2)]
    await asyncio.gather(*(upgrade(empty_database_url) for _ in range(2)))
    assert [await other.wait() for other in others] == [0, 0]
    await upgrade(empty_database_url)
    assert await current(empty_database_url) == newest()


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("anabranch_writer", "UPDATE anabranch.events SET actor = 'x'"),
        ("anabranch_writer", "DELETE FROM anabranch.events"),
        ("anabranch_writer", "DROP TABLE anabranch.events"),
        ("anabranch_reader", "INSERT INTO anabranch.timers VALUES (gen_random_uuid(), 't', now())"),
        ("anabranch_reader", "UPDATE anabranch.run_rows SET status = 'completed'"),
    ],
)
async def test_roles_may_do_no_more_than_they_need(database_url: str, role: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"SET ROLE {role}")
        await connection.fetch("SELECT * FROM anabranch.runs")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
