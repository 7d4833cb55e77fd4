#!/bin/bash
# What of the official PostgreSQL image's behaviour docker-compose.yml needs.
set -euo pipefail
grep -q ":x:$(id -u):" /etc/passwd || echo "postgres-own:x:$(id -u):$(id -g)::/:/bin/sh" >>/etc/passwd
export PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Unquoted, for it is several words.
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 ${POSTGRES_INITDB_ARGS:-} >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses= -c unix_socket_directories=/tmp" start >/dev/null
    password=$(cat "$POSTGRES_PASSWORD_FILE")
    for script in /docker-entrypoint-initdb.d/*.sh; do PGHOST=/tmp PGPASSWORD=$password bash "$script"; done
    pg_ctl -w -m fast stop >/dev/null
fi
exec "$@" -c unix_socket_directories=/tmp
