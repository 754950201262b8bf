"""Each login of `ops/postgres/roles.sql`, and what it tries in vain: nobody changes events, readers write nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.security.locked import Locked

EVENT = "gen_random_uuid(), 1, 'T', 1, '{}', gen_random_uuid(), gen_random_uuid(), 'router', now()"
COLUMNS = "run_id, version, type, schema_version, data, message_id, causation_id, actor, recorded_at"
INSERT = f"INSERT INTO anabranch.events ({COLUMNS}) VALUES ({EVENT})"
TAMPER = [
    "UPDATE anabranch.events SET data = '{}'",
    "UPDATE anabranch.events SET xid = '0'",
    "DELETE FROM anabranch.events",
    "TRUNCATE anabranch.events",
    "DROP TABLE anabranch.events",
    "DROP TRIGGER events_append_only ON anabranch.events",
    "ALTER TABLE anabranch.events DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION anabranch.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "ALTER FUNCTION anabranch.refuse_change() RENAME TO harmless",
    "CREATE RULE quiet AS ON INSERT TO anabranch.events DO INSTEAD NOTHING",
    "ALTER TABLE anabranch.events ALTER COLUMN data DROP NOT NULL",
    "CREATE TABLE anabranch.own (x integer)",
    "CREATE FUNCTION anabranch.own() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE public.own (x integer)",
    "CREATE SCHEMA own",
    "CREATE TEMPORARY TABLE own (x integer)",
    "SET ROLE anabranch_owner",
    "GRANT anabranch_owner TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE ROLE own",
    "COPY anabranch.events TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "UPDATE anabranch.alembic_version SET version_num = 'x'",
    "DELETE FROM anabranch.run_rows",
    "INSERT INTO anabranch.mailbox (message_id, routing_key, body) VALUES (gen_random_uuid(), 'run.cancel', '{}')",
    "SELECT * FROM anabranch.mailbox",
    f"INSERT INTO anabranch.events ({COLUMNS}, position) OVERRIDING SYSTEM VALUE VALUES ({EVENT}, 1)",
    f"INSERT INTO anabranch.events ({COLUMNS}, xid) VALUES ({EVENT}, '0')",
]
MEDDLE = [
    INSERT,
    "UPDATE anabranch.run_rows SET status = 'completed'",
    "UPDATE anabranch.user_requests SET status = 'answered'",
    "INSERT INTO anabranch.timers VALUES (gen_random_uuid(), 't', now())",
    "SELECT run_id FROM anabranch.run_rows FOR UPDATE",
    "LOCK TABLE anabranch.events IN ACCESS EXCLUSIVE MODE",
    "SELECT * FROM anabranch.snapshots",
    "SELECT * FROM anabranch.timers",
]
REFUSED = asyncpg.InsufficientPrivilegeError
ATTEMPTS = [
    *((login, statement) for login in ("router", "supervisor", "console") for statement in TAMPER),
    *(("console", statement) for statement in MEDDLE),
    ("operator", INSERT),
    *(("operator", s) for s in TAMPER if not s.startswith("DELETE FROM anabranch.run_rows")),
]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize(("login", "statement"), ATTEMPTS, ids=[f"{login}: {s[:60]}" for login, s in ATTEMPTS])
async def test_what_a_login_need_not_do_it_cannot(servers: Locked, login: str, statement: str) -> None:
    async with connected(servers.postgres(login)) as connection:
        with pytest.raises(REFUSED):
            async with connection.transaction():
                await connection.execute(statement)


@pytest.mark.parametrize("statement", TAMPER[:4])
async def test_not_even_the_owner_changes_events_by_mistake(servers: Locked, statement: str) -> None:
    async with connected(servers.postgres("owner")) as connection:
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            async with connection.transaction():
                await connection.execute(INSERT)
                await connection.execute(statement)


@pytest.mark.parametrize("login", ["router", "supervisor"])
async def test_who_writes_may_append(servers: Locked, login: str) -> None:
    async with connected(servers.postgres(login)) as connection:
        transaction = connection.transaction()
        await transaction.start()
        row = await connection.fetchrow(f"{INSERT} RETURNING version")
        assert row["version"] == 1
        await transaction.rollback()


@pytest.mark.parametrize("login", ["owner", "router", "supervisor", "operator", "console"])
async def test_no_login_is_more_than_it_seems(servers: Locked, login: str) -> None:
    async with connected(servers.postgres(login)) as connection:
        row = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert not any(row[f"rol{power}"] for power in ("super", "createrole", "createdb", "replication", "bypassrls"))


WRITTEN = "SELECT INSERT UPDATE"
VIEWS = ("runs", "branches", "steps", "messages", "stuck", "events", "alembic_version", "payload_fields", "erasures")
SEEN = (*VIEWS, "run_rows", "branch_rows", "step_rows", "convergences", "user_requests", "checkpoints")
ROWS = ("run_rows", "branch_rows", "step_rows", "convergences", "user_requests", "checkpoints", "timers", "snapshots")
EXPECTED = {
    "anabranch_writer": {**dict.fromkeys(SEEN, "SELECT"), **dict.fromkeys(ROWS, WRITTEN), "watch": "SELECT UPDATE"},
    "anabranch_reader": dict.fromkeys(SEEN, "SELECT"),
}
RIGHTS = """SELECT c.relname AS relation, array_agg(p ORDER BY place) AS rights
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, unnest(ARRAY[
'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) WITH ORDINALITY AS r(p, place)
WHERE n.nspname = 'anabranch' AND c.relkind IN ('r', 'v', 'm', 'p') AND has_table_privilege($1, c.oid, p)
GROUP BY 1"""


@pytest.mark.parametrize("role", EXPECTED)
async def test_rights_are_exactly_those_that_were_decided(servers: Locked, role: str) -> None:
    """A relation of a later migration needs a decision here."""
    async with connected(servers.superuser) as connection:
        found = {row["relation"]: " ".join(row["rights"]) for row in await connection.fetch(RIGHTS, role)}
    assert found == EXPECTED[role]


async def test_functions_with_their_owners_rights_name_their_schemas_and_are_not_for_everybody(servers: Locked) -> None:
    async with connected(servers.superuser) as connection:
        found = await connection.fetch(
            """SELECT p.oid::regprocedure::text AS name, p.proconfig, has_function_privilege('public', p.oid, 'EXECUTE')
            AS anybody FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'anabranch' AND p.prosecdef"""
        )
    for function in found:
        assert any(setting.startswith("search_path=") for setting in function["proconfig"] or ()), function["name"]
        assert not function["anybody"], function["name"]
