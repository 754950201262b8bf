"""A migration that makes an index keeps nobody from writing, and takes none away that older services use."""

import asyncio
from uuid import uuid4

import asyncpg

from anabranch.runtime.postgres import migrate
from anabranch.runtime.postgres.migrate import upgrade

RUN = (
    "INSERT INTO anabranch.run_rows (run_id, status, version, total_steps, branch_count, parallel_branches, "
    "convergence_wait_time, result_count) VALUES ($1, 'running', 1, 1, 1, 1, 0, 0)"
)
INDEXES = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisvalid "
    "AND c.relname IN ('runs_working', 'steps_requested') ORDER BY 1"
)
WAITS = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = $1)"
)


async def test_an_index_is_made_beside_writers_and_the_old_one_goes_when_all_services_are_new(
    empty_database_url: str,
) -> None:
    await asyncio.to_thread(migrate._upgrade, empty_database_url, "pre_0004")
    first, second = await asyncpg.connect(empty_database_url), await asyncpg.connect(empty_database_url)
    transaction = first.transaction()
    await transaction.start()
    await first.execute(RUN, uuid4())
    upgrading = asyncio.create_task(upgrade(empty_database_url, "pre"))
    name = empty_database_url.rpartition("/")[2].partition("?")[0]
    async with asyncio.timeout(30):
        while not upgrading.done() and not await second.fetchval(WAITS, name):  # noqa: ASYNC110 - SQL has no signal
            await asyncio.sleep(0.05)
    await second.execute("SET lock_timeout = '2s'")
    try:
        await second.execute(RUN, uuid4())
    finally:
        await transaction.commit()
    assert await upgrading == ["post_0008"]
    both = ["runs_working", "steps_requested"]
    assert [row["relname"] for row in await second.fetch(INDEXES)] == both
    assert await upgrade(empty_database_url, "post") == []
    assert [row["relname"] for row in await second.fetch(INDEXES)] == both[:1]
    await first.close()
    await second.close()
