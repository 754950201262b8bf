"""What must be true of a database in which every run is over, whatever happened on the way."""

import asyncpg

from anabranch.runtime.postgres.rebuild import verify
from anabranch.runtime.postgres.store import PostgresStore

ENDS = ["RunCompleted", "RunFailed", "RunCancelled", "RunRejected"]
OUTCOMES = """SELECT count(e.version) FROM anabranch.runs r
LEFT JOIN anabranch.events e ON e.run_id = r.run_id AND e.type = ANY($1) GROUP BY r.run_id"""
TWICE = """SELECT run_id, data->>'step_id', count(*) FROM anabranch.events
WHERE type = 'StepCompleted' GROUP BY 1, 2 HAVING count(*) > 1"""


async def audit(database_url: str) -> None:
    """One outcome for each run, no step accepted twice, nothing stuck, tables equal replay."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        assert {row["count"] for row in await connection.fetch(OUTCOMES, ENDS)} == {1}
        assert await connection.fetch(TWICE) == [] == await connection.fetch("SELECT * FROM anabranch.stuck")
    finally:
        await connection.close()
    store = PostgresStore(database_url)
    assert await verify(store) == []
    await store.close()
