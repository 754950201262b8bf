"""A house with scripted agents, and its runs as their requester and a reader of the tables see them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from anabranch.runtime.postgres.rebuild import verify
from anabranch.runtime.postgres.store import PostgresStore
from tests.acceptance.client import Client, client
from tests.acceptance.gate import Gate, Waiting, gate
from tests.acceptance.tables import Row, Tables, tables
from tests.processes import House, house

JSON = Any
AGENTS = Path(__file__).with_name("scripted.py")
SLOTS = "100"  # some agents wait for ever; nobody else is to wait for them
ENDS = ("RunCompleted", "RunFailed", "RunCancelled", "RunRejected")
OVER = {
    "branches": {"completed", "failed", "cancelled", "merged"},
    "steps": {"completed", "failed", "cancelled", "skipped"},
    "convergences": {"fired", "cancelled"},
    "user_requests": {"answered", "cancelled"},
}


@dataclass(frozen=True)
class Seen:
    """All that is to be seen of a run that is over: its outcome and its rows."""

    outcome: JSON
    run: Row
    branches: list[Row]
    steps: list[Row]
    convergences: list[Row]
    user_requests: list[Row]
    events: list[Row]

    @property
    def status(self) -> str:
        return str(self.outcome["status"])

    @property
    def result(self) -> JSON:
        return self.outcome["result"]

    @property
    def error(self) -> JSON:
        return self.outcome["error"]

    def of(self, agent: str) -> list[Row]:
        """The steps of an agent."""
        return [step for step in self.steps if step["agent"] == agent]

    def recorded(self, kind: str) -> list[JSON]:
        """What the events of a type say, in their order."""
        return [event["data"] for event in self.events if event["type"] == kind]

    def statuses(self, agent: str) -> list[str]:
        """How the branches that stood at an agent in the end came out."""
        return [branch["status"] for branch in self.branches if branch["agent"] == agent]


@dataclass(frozen=True)
class AskedRun:
    """A run that was asked for."""

    id: str
    stage: "Stage"

    async def outcome(self, seconds: float = 30) -> JSON:
        """Its terminal message."""
        outcomes = self.stage.client.outcomes
        await self.stage.client.until(lambda: self.id in outcomes, seconds)
        return outcomes[self.id]

    async def question(self, kind: str = "question") -> JSON:
        """The next question of a kind that it puts to a person."""
        asked = self.stage.client.questions
        mine = {"run_id": self.id, "kind": kind}
        await self.stage.client.until(lambda: any(mine.items() <= q.items() for q in asked), 30)
        found = next(q for q in asked if mine.items() <= q.items())
        asked.remove(found)
        return found

    async def answer(self, question: JSON, value: JSON) -> JSON:
        """Answer as a person; what came of it."""
        return await self.tell("user.provided", request_id=question["request_id"], value=value)

    async def tell(self, key: str, **body: JSON) -> JSON:
        """Publish a command; what came of it."""
        return await self.stage.client.command(key, run_id=self.id, **body)

    async def result(self, key: str, step_id: str, attempt: int, **body: JSON) -> None:
        """Publish a result as any worker could."""
        step = {"run_id": self.id, "branch_id": step_id.partition("#")[0], "step_id": step_id, "attempt": attempt}
        await self.stage.client.publish(key, [orjson.dumps({**step, **body})])

    async def begun(self, agent: str) -> Waiting:
        """The next step of the agent that waits at the gate."""
        return await self.stage.gate.begun(self.id, agent)

    async def row(self) -> Row:
        """Its row of `runs`, as it is now."""
        return await self.stage.tables.run(self.id)

    async def rows(self, relation: str) -> list[Row]:
        """Its rows of another relation, as they are now."""
        return await self.stage.tables.rows(relation, self.id)

    async def recorded(self, kind: str, count: int = 1, seconds: float = 30) -> list[JSON]:
        """What its events of a type say, once there are so many."""
        async with asyncio.timeout(seconds):
            while len(found := [e["data"] for e in await self.rows("events") if e["type"] == kind]) < count:  # noqa: ASYNC110 - SQL has no signal
                await asyncio.sleep(0.02)
        return found

    async def seen(self) -> Seen:
        """All of it, once it is over; message and rows must agree."""
        outcome = await self.outcome()
        rows = {relation: await self.rows(relation) for relation in (*OVER, "events")}
        seen = Seen(outcome, await self.row(), **rows)
        agree(seen)
        return seen


def agree(seen: Seen) -> None:
    """One outcome, the same in the message and in every relation, and nothing left open."""
    outcome, run = seen.outcome, seen.run
    assert Counter(e["type"] for e in seen.events if e["type"] in ENDS).total() == 1
    assert {k: run[k] for k in ("status", "error")} == {k: outcome.get(k) for k in ("status", "error")}
    assert run["result"] == outcome.get("result")
    assert outcome["status"] != "completed" or run["result_count"] == outcome["result_count"]
    assert outcome["metrics"] == {k: run[k] for k in outcome["metrics"]}
    assert run["total_steps"] == len(seen.steps) and run["branch_count"] == len(seen.branches)
    assert run["version"] == seen.events[-1]["version"] == len(seen.events)
    for relation, words in OVER.items():
        left = [row for row in getattr(seen, relation) if row["status"] not in words]
        assert not left, (relation, left)


@dataclass(frozen=True)
class Stage:
    """Ask here for runs of scripted agents."""

    client: Client
    tables: Tables
    gate: Gate
    house: House

    async def ask(
        self, topology: JSON, script: JSON = None, task: JSON = "go", context: JSON = None, **more: JSON
    ) -> AskedRun:
        """Ask for a run; `script` as in scripted.py, `more` is further fields of `run.requested`."""
        run = AskedRun(str(uuid4()), self)
        told = {"script": script or {}, "gate": self.gate.port, **(context or {})}
        body = {"run_id": run.id, "task": task, "topology": topology, "context": told, **more}
        await self.client.publish("run.requested", [orjson.dumps(body)])
        return run


async def replayed(database_url: str) -> list[str]:
    """Where the tables differ from what the events say."""
    store = PostgresStore(database_url)
    try:
        return await verify(store)
    finally:
        await store.close()


@asynccontextmanager
async def stage(database_url: str, amqp_url: str, folder: Path) -> AsyncIterator[Stage]:
    """Router, supervisor and one worker as processes; at the end nothing may be stuck, and tables equal replay."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANABRANCH_CONCURRENCY", SLOTS)
        with house(database_url, amqp_url, folder, AGENTS) as all_of_it:
            async with client(amqp_url) as asking, tables(database_url) as reading, gate() as opened:
                await asking.listen()
                yield Stage(asking, reading, opened, all_of_it)
                assert await reading.stuck() == []
        assert await replayed(database_url) == []
