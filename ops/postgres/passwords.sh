#!/bin/sh
# Gives each login of roles.sql the password that stands in a file of its name. Run it as a superuser, by psql's own
# variables (PGHOST, PGUSER, ...), after roles.sql and again to rotate:  SECRETS=/run/secrets ops/postgres/passwords.sh
set -eu
cd "${SECRETS:=/run/secrets}"
export PGUSER="${PGUSER:-${POSTGRES_USER:-postgres}}" PGDATABASE="${PGDATABASE:-${POSTGRES_DB:-anabranch}}"
for login in anabranch_owner anabranch_router anabranch_supervisor anabranch_operator anabranch_console; do
    [ -s "$login" ] || continue
    printf '%s\n' "\\set password \`cat $login\`" "ALTER ROLE $login PASSWORD :'password';" \
        | psql -q -X -v ON_ERROR_STOP=1
done
