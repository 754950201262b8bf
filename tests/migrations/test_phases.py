"""Two phases of a deploy: what adds goes before the services, what takes away after them; nobody works in between."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from anabranch.runtime.postgres import schema
from anabranch.runtime.postgres.engine import create_engine
from anabranch.runtime.postgres.migrate import WrongPhase, upgrade
from anabranch.runtime.postgres.schema import WrongSchema, chain, current, require

MIGRATION = '''"""A migration of another release."""

from alembic import op

revision = "{name}"
down_revision = "{after}"


def upgrade() -> None:
    op.execute("{statement}")
'''
PRE = "ALTER TABLE anabranch.run_rows ADD COLUMN {name} text"
POST = "DROP VIEW anabranch.stuck"


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """Become a release whose migrations are today's and these phases; returns the names of those."""
    today, original = chain(), schema.MIGRATIONS

    def become(*phases: str) -> list[str]:
        folder = tmp_path / "-".join(["release", *phases])
        shutil.copytree(original.resolve(), folder)
        names, after = [], today[-1]
        for number, phase in enumerate(phases, int(today[-1].partition("_")[2]) + 1):
            name = f"{phase}_{number:04}"
            statement = (PRE if phase == "pre" else POST).format(name=name)
            text = MIGRATION.format(name=name, after=after, statement=statement)
            (folder / "versions" / f"{name}_more.py").write_text(text)
            names, after = [*names, name], name
        monkeypatch.setattr(schema, "MIGRATIONS", folder)
        return names

    return become


async def usable(url: str) -> str:
    """What a service says that starts now: the revision, or why not."""
    engine = create_engine(url)
    try:
        return await require(engine)
    except WrongSchema as why:
        return f"{why}; {why.mend}"
    finally:
        await engine.dispose()


def test_the_chain_is_that_of_the_files() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    walked = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert chain() == walked[::-1] and all(name.startswith(("pre_", "post_")) for name in chain())


async def test_an_empty_database_gets_all_whatever_the_phase(
    empty_database_url: str, release: Callable[..., list[str]]
) -> None:
    assert await usable(empty_database_url) == (
        "the database is empty; run `anabranch migrate`, or a first `anabranch demo`"
    )
    names = release("pre", "post")
    assert await upgrade(empty_database_url, "pre") == []
    assert await current(empty_database_url) == names[-1] == await usable(empty_database_url)


async def test_pre_stops_before_what_takes_away_and_both_releases_work_until_then(
    database_url: str, release: Callable[..., list[str]]
) -> None:
    here = chain()[-1]
    release()
    old = schema.MIGRATIONS
    pre, post = release("pre", "post")
    new = schema.MIGRATIONS
    assert await usable(database_url) == f"the database is at {here}, this release needs {pre}; run `anabranch migrate`"
    with pytest.raises(WrongPhase, match=f"{pre} is not applied yet"):
        await upgrade(database_url, "post")
    assert await upgrade(database_url, "pre") == [post]
    for folder in (old, new):
        schema.MIGRATIONS = folder
        assert await usable(database_url) == pre
    assert await upgrade(database_url, "post") == []
    assert await usable(database_url) == post
    schema.MIGRATIONS = old
    closed = f"the database is at {post}, changed by {post} of a newer release for good"
    assert (await usable(database_url)).startswith(closed)


async def test_what_was_taken_away_stays_so_for_whoever_comes_after(
    database_url: str, release: Callable[..., list[str]]
) -> None:
    """The last name in the version table is a `pre_` one again, and older services still are told."""
    release()
    old = schema.MIGRATIONS
    _, post, _ = release("pre", "post", "pre")
    await upgrade(database_url)
    schema.MIGRATIONS = old
    assert f"changed by {post} of a newer release" in await usable(database_url)
    assert await upgrade(database_url) == [], "a release that was installed by mistake changes nothing"


async def test_a_release_that_was_passed_over_is_not_lost_in_between(
    database_url: str, release: Callable[..., list[str]]
) -> None:
    _, post, later = release("pre", "post", "pre")
    with pytest.raises(WrongPhase, match=f"{later} comes after {post}"):
        await upgrade(database_url, "pre")
    assert await upgrade(database_url, "all") == []
    assert await current(database_url) == later


async def test_the_writer_may_ask_which_schema_there_is(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET ROLE anabranch_writer")
        assert await connection.fetchval(str(schema._VERSION)) == chain()[-1]
        await connection.fetchval(str(schema._CLOSED))
    finally:
        await connection.close()


@pytest.mark.parametrize("module", ["anabranch.router", "anabranch.branch_supervisor"])
async def test_a_service_waits_for_its_schema_and_says_so_in_a_line(
    module: str, empty_database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    from tests.processes import Process

    both = {"ANABRANCH_DATABASE_URL": empty_database_url, "ANABRANCH_AMQP_URL": amqp_url}
    service = Process(module, both, tmp_path / "log").start()
    try:
        while "the database is empty" not in service.log.read_text():
            assert service.process is not None and service.process.poll() is None
            await asyncio.sleep(0.05)
        assert "anabranch migrate" in service.log.read_text() and "Traceback" not in service.log.read_text()
        await upgrade(empty_database_url)
        service.await_ready()
    finally:
        service.kill()


TAKEN_AWAY = "ALTER TABLE anabranch.run_rows RENAME COLUMN total_steps TO steps_in_all"
GIVEN_BACK = "ALTER TABLE anabranch.run_rows RENAME COLUMN steps_in_all TO total_steps"
MARK = "COMMENT ON TABLE anabranch.alembic_version IS {}"


async def test_a_post_migration_under_a_service_that_still_runs_stops_it_and_loses_nothing(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """An operator's mistake: the service says so and waits, its messages wait with it, and nothing is parked."""
    from tests.acceptance.client import client
    from tests.processes import Process

    both = {"ANABRANCH_DATABASE_URL": database_url, "ANABRANCH_AMQP_URL": amqp_url}
    services = [Process(m, both, tmp_path / m).start() for m in ("anabranch.router", "anabranch.branch_supervisor")]
    connection = await asyncpg.connect(database_url)
    try:
        for service in services:
            service.await_ready()
        await connection.execute(TAKEN_AWAY)
        await connection.execute(MARK.format("'post_9999'"))
        async with client(amqp_url) as asking:
            await asking.request([uuid4()], {"nodes": ["User", "A"], "edges": ["A -> Nobody"]})
            log = services[0].log
            while "changed by post_9999 of a newer release" not in log.read_text():  # noqa: ASYNC110 - a log gives no signal
                await asyncio.sleep(0.05)
            await connection.execute(GIVEN_BACK)
            await connection.execute(MARK.format("NULL"))
            await asking.collect(1, 30)
            assert [outcome["status"] for outcome in asking.outcomes.values()] == ["rejected"]
        assert not [s for s in services if "Traceback" in s.log.read_text() or "parked" in s.log.read_text()]
    finally:
        await connection.close()
        for service in services:
            service.kill()
