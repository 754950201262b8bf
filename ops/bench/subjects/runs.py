"""Runs of anabranch asked for over a session, and what its log is good for; both ways to run it share this."""

import time
from typing import Any
from uuid import UUID

from ops.bench.subjects import agent, team

from anabranch.client.session import Session
from anabranch.domain.evolve import fold
from anabranch.domain.recorded import Recorded
from anabranch.runtime.garbage import seldom_searched
from anabranch.runtime.postgres.rebuild import rebuild, run_ids
from anabranch.runtime.postgres.store import PostgresStore
from anabranch_contracts.errors import AnabranchError

JSON = Any
CONFIG = {"max_branch_steps": 100_000}
SIZE = "SELECT pg_database_size(current_database())"


class Runs:
    """Implements `workloads.Subject`."""

    def __init__(self, session: Session, store: PostgresStore) -> None:
        self._session, self._store = session, store

    async def outcome(self, request: JSON) -> JSON:
        """What an AMQP client does: ask, and wait for the terminal message."""
        body = await (await self._session.submit(request)).outcome
        if body["status"] != "completed":
            raise AnabranchError(f"a run {body['status']}: {body.get('error')}")
        return body["result"]

    async def _run(self, task: JSON, topology: JSON, last: JSON = None) -> JSON:
        return await self.outcome({"task": task, "topology": topology, "config": CONFIG, "context": {"last": last}})

    async def chain(self, first: int, steps: int) -> int:
        return int(await self._run(first, team.line(steps), first + steps))

    async def fork(self, width: int) -> int:
        return int(await self._run(width, team.FAN))

    async def talk(self, turns: int) -> str:
        return str(await self._run(agent.said(0), team.TALK, agent.said(2 * turns)))

    async def _scalar(self, statement: str) -> int:
        async with self._store.engine.connect() as connection:
            return int((await connection.exec_driver_sql(statement)).scalar_one())

    async def stored(self) -> int:
        return await self._scalar(SIZE)

    async def replay(self) -> dict[str, float]:
        """The whole log read and decoded, then folded; then all tables written anew from it."""
        began = time.monotonic()
        log = [await self._history(run_id) async for run_id in run_ids(self._store)]
        read = time.monotonic()
        seconds = folding(log)
        again = time.monotonic()
        await rebuild(self._store)
        rebuilt = time.monotonic()
        events = sum(map(len, log))
        return {
            "read_events_per_s": events / (read - began),
            "fold_events_per_s": events / seconds,
            "rebuild_events_per_s": events / (rebuilt - again),
        }

    async def _history(self, run_id: UUID) -> list[Recorded]:
        async with self._store.unit([]) as unit:
            return await unit.history(run_id)


def folding(log: list[list[Recorded]]) -> float:
    """Seconds of the processor to fold every run of it from its first event."""
    seldom_searched()  # as services are
    began = time.process_time()
    for events in log:
        fold(events)
    return time.process_time() - began
