"""Follow the runs of a database from one death of everything to the next, one answer of each run at a time."""

import asyncio
from typing import Any

import asyncpg

ANSWERS = ["StepCompleted", "StepSuspended", "StepRejected", "StepFailed", "StepResultDiscarded"]
FOUND = """SELECT r.run_id, r.task, r.status, count(e.version) AS answers FROM anabranch.runs r
LEFT JOIN anabranch.events e
ON e.run_id = r.run_id AND e.type = ANY($1) AND e.version > coalesce(r.forked_at_version, 0)
GROUP BY r.run_id, r.task, r.status"""
SECONDS = 60
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Lives:
    """What every life has brought so far; `count` of those that brought something."""

    def __init__(self, expected: int = 1) -> None:
        self._expected = expected
        self._answers: dict[Any, int] = {}
        self.count = 0

    async def another(self, database_url: str, ending: "asyncio.Future[Any]") -> bool:
        """Until each run that is at work had one more answer; False when `ending` comes before."""
        connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
        try:
            async with asyncio.timeout(SECONDS):
                while not ending.done():
                    if self._lived(await connection.fetch(FOUND, ANSWERS)):
                        self.count += 1
                        return True
                    await asyncio.wait({ending}, timeout=0.02)  # a row gives no signal
        except LOST:
            await asyncio.wait_for(asyncio.shield(ending), SECONDS)  # an engine takes its database with it
        finally:
            connection.terminate()
        return False

    def _lived(self, runs: list[Any]) -> bool:
        """Whether this life has brought all it can; it may never bring a run more than one answer."""
        new = {run["run_id"]: run["answers"] - self._answers.get(run["run_id"], 0) for run in runs}
        further = [run["task"] for run in runs if new[run["run_id"]] > 1]
        assert not further, f"further than to the next step came {further}"
        waited_for = [run for run in runs if run["status"] in ("pending", "running") and not new[run["run_id"]]]
        if len(runs) < self._expected or waited_for or not any(new.values()):
            return False
        self._answers = {run["run_id"]: run["answers"] for run in runs}
        return True
