"""What the views make of the log, where the tables alone do not say it."""

from typing import Any

import asyncpg
import orjson
import pytest

from anabranch.domain.projections import fold_rows
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


async def stored(url: str, run: Run) -> None:
    store = PostgresStore(url)
    async with store.unit([run.state.run_id]) as unit:
        await unit.append(run.events, list(fold_rows(run.events)))
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
