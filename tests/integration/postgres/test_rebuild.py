"""Tables are written anew from the log alone, whatever they said, many runs at once and a long one by itself."""

from collections.abc import AsyncIterator

import pytest

from anabranch.domain.projections import fold_rows
from anabranch.domain.recorded import Recorded
from anabranch.runtime.postgres import rebuild as rebuilding
from anabranch.runtime.postgres import statements as sql
from anabranch.runtime.postgres.rebuild import rebuild, run_ids, verify
from anabranch.runtime.postgres.store import PostgresStore
from tests.simulation.laws import recorded
from tests.simulation.world import World

RUNS = 12
DAMAGE = (
    *(f"DELETE FROM anabranch.{table} WHERE abs(hashtext(run_id::text)) % 2 = 0" for table in sql.COLUMNS),
    "UPDATE anabranch.run_rows SET status = 'running', version = 1",
    "UPDATE anabranch.branch_rows SET branch_id = 'no such ' || branch_id",
    "UPDATE anabranch.step_rows SET agent = 'somebody else'",
)


@pytest.fixture(scope="module")
def played() -> list[list[Recorded]]:
    """The runs of a few worlds."""
    return [recorded(World(seed, seed * 31).play()) for seed in range(RUNS)]


@pytest.fixture
async def store(database_url: str, played: list[list[Recorded]]) -> AsyncIterator[PostgresStore]:
    """With these runs in it."""
    made = PostgresStore(database_url)
    for events in played:
        async with made.unit([]) as unit:
            await unit.append(events, fold_rows(events))
    yield made
    await made.close()


async def damage(store: PostgresStore) -> None:
    async with store.engine.begin() as connection:
        for statement in DAMAGE:
            await connection.exec_driver_sql(statement)


@pytest.mark.parametrize("at_once", [1, 300, 1_000_000], ids=["each alone", "some together", "all at once"])
async def test_whatever_the_tables_said_they_say_what_the_log_says(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(rebuilding, "AT_ONCE", at_once)
    monkeypatch.setattr(rebuilding, "PAGE", 5)
    assert await verify(store) == []
    await damage(store)
    assert await verify(store) != []
    assert await rebuild(store) == RUNS
    assert await verify(store) == []


async def test_runs_are_listed_once_in_order_whatever_a_page_holds(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [run_id async for run_id in run_ids(store)]
    assert len(listed) == RUNS and listed == sorted(listed)
    for page in (1, RUNS - 1, RUNS):
        monkeypatch.setattr(rebuilding, "PAGE", page)
        assert [run_id async for run_id in run_ids(store)] == listed
