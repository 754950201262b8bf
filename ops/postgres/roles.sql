-- Who may do what in the database of anabranch. Run it there once as a superuser, before `anabranch migrate`:
--     psql -d anabranch -f ops/postgres/roles.sql
-- It may be repeated. No password is set here: \password NAME, or see ops/postgres/passwords.sh.
--
--   anabranch_owner       migrates; owns the schema and everything in it
--   anabranch_router      \ append events, write tables: the role anabranch_writer
--   anabranch_supervisor  /
--   anabranch_operator    recovers, compares and rebuilds tables
--   anabranch_console     reads: the role anabranch_reader; give it to everybody who watches with SQL
--   workers               have no database

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('anabranch_writer', 'NOLOGIN'), ('anabranch_reader', 'NOLOGIN'), ('anabranch_operator', 'LOGIN'),
        ('anabranch_owner', 'LOGIN'), ('anabranch_router', 'LOGIN'), ('anabranch_supervisor', 'LOGIN'),
        ('anabranch_console', 'LOGIN')) AS r(name, login)
    LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I', wanted.name);
        END IF;
        EXECUTE format('ALTER ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS',
                       wanted.name, wanted.login);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO anabranch_owner', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO anabranch_writer, anabranch_reader, anabranch_operator',
                   current_database());
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT anabranch_writer TO anabranch_router, anabranch_supervisor;
GRANT anabranch_reader TO anabranch_console;
