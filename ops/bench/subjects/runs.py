"""Runs of anabranch asked for over a session, and what its log is good for; both ways to run it share this."""

import time
from typing import Any

from ops.bench.subjects import agent, team

from anabranch.client.session import Session
from anabranch.domain.evolve import fold
from anabranch.runtime.postgres.rebuild import rebuild, run_ids
from anabranch.runtime.postgres.store import PostgresStore
from anabranch_contracts.errors import AnabranchError

JSON = Any
CONFIG = {"max_branch_steps": 100_000}
SIZE = "SELECT pg_database_size(current_database())"
EVENTS = "SELECT count(*) FROM anabranch.events"


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
        """The fold of every run from its first event; then all tables written anew from the log."""
        events, began = await self._scalar(EVENTS), time.monotonic()
        async for run_id in run_ids(self._store):
            async with self._store.unit([]) as unit:
                fold(await unit.history(run_id))
        folded = time.monotonic()
        await rebuild(self._store)
        rebuilt = time.monotonic()
        return {"replay_events_per_s": events / (folded - began), "rebuild_events_per_s": events / (rebuilt - folded)}
