"""Whoever holds the watch: he may, for as long as it takes, or he is told before he does anything."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import DBAPIError

from anabranch.runtime.ports import Unavailable
from anabranch.runtime.postgres import engine
from anabranch.runtime.postgres.store import PostgresStore


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(database_url)
    yield made
    await made.close()


async def execute(store: PostgresStore, statement: str, *parameters: object) -> None:
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql(statement, parameters)


async def test_the_lock_is_kept_for_longer_than_a_session_may_be_idle(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine.SESSION, "idle_in_transaction_session_timeout", "100ms")
    store = PostgresStore(database_url)
    async with store.watch() as held:
        assert held
        await execute(store, "SELECT pg_sleep(0.5)")
        async with store.watch() as too:
            assert not too
    await store.close()


async def test_where_nothing_can_be_written_nobody_holds_it(store: PostgresStore, database_url: str) -> None:
    name = database_url.rpartition("/")[2].partition("?")[0]
    await execute(store, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await store.engine.dispose()
    with pytest.raises(Unavailable, match="read-only"):
        async with store.watch():
            raise AssertionError("it was held")


async def test_who_holds_it_holds_no_horizon_back(store: PostgresStore) -> None:
    """The log is followed up to the oldest transaction in progress: the holder's must not be one that writes."""
    async with store.watch() as held:
        assert held
        async with store.engine.connect() as connection:
            idle = "SELECT count(backend_xid) FROM pg_stat_activity WHERE datname = current_database()"
            assert (await connection.exec_driver_sql(idle)).scalar() == 0


async def test_an_error_that_is_logged_shows_no_payload(store: PostgresStore) -> None:
    with pytest.raises(DBAPIError) as failed:
        await execute(store, "SELECT 1 / (length($1::text) - length($1::text))", "a payload")
    assert "division by zero" in str(failed.value) and "a payload" not in str(failed.value)
