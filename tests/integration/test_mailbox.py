"""The mailbox of an embedded engine is a table: what is no command in it is answered so, and keeps nobody waiting."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from anabranch.client.embedded import Engine
from anabranch.client.mailbox import PUT
from anabranch.runtime.ids import uuid7
from anabranch.runtime.settings import load

JSON = Any
RUN = str(uuid7())
GARBAGE: list[tuple[str, JSON]] = [
    ("run.pause", []),
    ("run.pause", {"run_id": 7}),
    ("no.such.key", {"run_id": RUN}),
    ("step.completed", {"run_id": RUN, "branch_id": "b0", "step_id": "b0#1", "attempt": 1, "response": 1}),
    ("run.recover", {"run_id": RUN}),
    ("run.fork", {"run_id": RUN}),
]
OUTCOMES = "SELECT outcome FROM anabranch.mailbox WHERE message_id = ANY($1) AND outcome IS NOT NULL"


async def test_rows_that_are_no_commands_are_refused_and_the_next_is_served(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_DATABASE_URL", database_url)
    connection = await asyncpg.connect(database_url)
    identities = [uuid7() for _ in GARBAGE]
    async with Engine(load()):
        for identity, (key, body) in zip(identities, GARBAGE, strict=True):
            await connection.execute(PUT, identity, key, orjson.dumps(body).decode())
        async with asyncio.timeout(20):
            while len(rows := await connection.fetch(OUTCOMES, identities)) < len(GARBAGE):  # noqa: ASYNC110 - SQL has no signal
                await asyncio.sleep(0.05)
    outcomes = [orjson.loads(row["outcome"]) for row in rows]
    assert not any(outcome["accepted"] for outcome in outcomes) and all(outcome["reason"] for outcome in outcomes)
    await connection.close()
