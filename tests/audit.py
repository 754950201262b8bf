"""What must be true of a database in which every run is over, whatever happened on the way."""

import asyncpg

from anabranch.runtime.postgres.rebuild import verify
from anabranch.runtime.postgres.store import PostgresStore

ENDS = ["RunCompleted", "RunFailed", "RunCancelled", "RunRejected"]
OUTCOMES = """SELECT r.run_id, count(e.version) FROM anabranch.runs r
LEFT JOIN anabranch.events e ON e.run_id = r.run_id AND e.type = ANY($1)
GROUP BY r.run_id HAVING count(e.version) <> 1"""
TWICE = """SELECT run_id, data->>'step_id', count(*) FROM anabranch.events
WHERE type = 'StepCompleted' GROUP BY 1, 2 HAVING count(*) > 1"""
STUCK = "SELECT * FROM anabranch.stuck"


async def faults_of(database_url: str) -> dict[str, list[str]]:
    """Runs without exactly one outcome, steps accepted twice, stuck branches, tables that differ from replay."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        found = {
            "not one outcome": await connection.fetch(OUTCOMES, ENDS),
            "accepted twice": await connection.fetch(TWICE),
            "stuck": await connection.fetch(STUCK),
        }
    finally:
        await connection.close()
    store = PostgresStore(database_url)
    different = await verify(store)
    await store.close()
    return {name: [str(row) for row in rows[:5]] for name, rows in {**found, "tables": different}.items() if rows}


async def audit(database_url: str) -> None:
    """One outcome for each run, no step accepted twice, nothing stuck, tables equal replay."""
    found = await faults_of(database_url)
    assert not found, found
