"""What the views make of the log, where the tables alone do not say it."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from anabranch.domain.projections import fold_rows
from anabranch.runtime.postgres import migrate
from anabranch.runtime.postgres.migrate import upgrade
from anabranch.runtime.postgres.rebuild import verify
from anabranch.runtime.postgres.store import PostgresStore
from tests.unit.domain.runs import FORKED, Run

JSON = Any
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}
LONGER = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "B -> C"]}
ALONE = {"nodes": ["A"]}
FORKS: list[tuple[list[JSON], list[str], JSON]] = [
    ([{}], ["A", "B"], {"k": 0}),
    ([{"topology": LONGER}], ["A", "B", "C"], {"k": 0}),
    ([{"topology": LONGER, "context": {"k": 1}}, {}], ["A", "B", "C"], {"k": 1}),
    ([{"topology": LONGER, "context": {"k": 1}}, {"context": {"k": 2}}], ["A", "B", "C"], {"k": 2}),
    ([{"topology": LONGER, "context": {"k": 1}}, {"topology": ALONE}], ["A"], {"k": 1}),
    ([{"topology": LONGER}, {"context": {}}, {"topology": ALONE}], ["A"], {}),
]


FORMER_STEP = """INSERT INTO anabranch.step_rows (run_id, step_id, branch_id, step_number, agent, status, attempt,
requested_version, requested_at) SELECT run_id, step_id, branch_id, step_number, agent, status, attempt, 3, requested_at
FROM anabranch.steps"""


async def stored(url: str, run: Run, before: int = 0) -> None:
    """All of the run but what is there `before`."""
    store = PostgresStore(url)
    async with store.unit([run.state.run_id]) as unit:
        await unit.append(run.events[before:], list(fold_rows(run.events)))
    await store.close()


@pytest.mark.parametrize(("forks", "nodes", "context"), FORKS, ids=range(len(FORKS)))
async def test_a_fork_of_a_fork_shows_what_was_replaced_last(
    database_url: str, forks: list[JSON], nodes: list[str], context: JSON
) -> None:
    run = Run(CHAIN, context={"k": 0})
    for replaced in forks:
        run = run.fork(run.state.version, **replaced)
    await stored(database_url, run)
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow("SELECT * FROM anabranch.runs WHERE run_id = $1", FORKED)
    await connection.close()
    assert [node["name"] for node in orjson.loads(row["topology"])["nodes"]] == nodes
    assert orjson.loads(row["context"]) == context and orjson.loads(row["task"]) == "task"
    assert (row["version"], row["status"]) == (run.state.version, "running")


async def test_a_step_shows_the_same_before_anything_came_of_it_and_after(database_url: str) -> None:
    run = Run(CHAIN)
    await stored(database_url, run)
    connection = await asyncpg.connect(database_url)
    asked = dict(await connection.fetchrow("SELECT * FROM anabranch.steps"))
    assert await connection.fetchval("SELECT count(*) FROM anabranch.step_rows") == 0, "its branch says it"
    run.reply("A", "a")
    await stored(database_url, run, before=3)
    answered, following = await connection.fetch("SELECT * FROM anabranch.steps ORDER BY step_number")
    await connection.close()
    told = {name: value for name, value in asked.items() if value is not None}
    assert len(told) == 9 and {name for name, value in told.items() if answered[name] != value} == {"status"}
    assert [row["status"] for row in (asked, answered, following)] == ["requested", "completed", "requested"]
    assert orjson.loads(asked["request"]) == "task" and asked["requested_at"] == run.events[2].at


async def test_steps_that_the_release_before_asked_for_show_once_and_their_branches_tell_of_them_in_the_end(
    empty_database_url: str,
) -> None:
    """Its services write a row for each when it is asked, and leave no word of it with the branch."""
    await asyncio.to_thread(migrate._upgrade, empty_database_url, "pre_0007")
    run = Run(CHAIN)
    await stored(empty_database_url, run)
    connection = await asyncpg.connect(empty_database_url)
    shown = await connection.fetch("SELECT * FROM anabranch.steps")
    await connection.execute(FORMER_STEP)
    assert await connection.fetch("SELECT * FROM anabranch.steps") == shown, "a newer service has touched its branch"
    await connection.execute("UPDATE anabranch.branch_rows SET result_version = NULL")
    assert await connection.fetch("SELECT * FROM anabranch.steps") == shown
    store = PostgresStore(empty_database_url)
    assert await store.asked_agents(run.now) == []
    assert [one.step_id for one in await store.asked_steps("A", run.now + timedelta(seconds=1))] == ["b0#1"]
    assert await verify(store) != []
    assert await upgrade(empty_database_url, "post") == []
    assert await connection.fetch("SELECT * FROM anabranch.steps") == shown and await verify(store) == []
    await store.close()
    await connection.close()
