"""Brings a facet's database up to date, as a process of its own.

Alembic takes 12 MB that a service would keep for good, for work that is due once a release. The
database's URL comes on standard input, since it may hold a password::

    echo URL | python -m portlayer.migrate DIRECTORY
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from portlayer.postgres import new_engine

# One replica at a time; the others find nothing left to do. The number is any, and ours; locks are
# each database's own. Source: PostgreSQL 15, 13.3.5 Advisory Locks.
_ONE_AT_A_TIME = sqlalchemy.text("SELECT pg_advisory_xact_lock(7663104)")


def upgrade(connection: sqlalchemy.Connection, migrations: Path) -> None:
    """Apply the steps in ``migrations/versions`` that the database doesn't have."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection, target_metadata=None)
        environment.run_migrations()


async def _main(url: str, migrations: Path) -> None:
    if url.startswith("sqlite"):
        plain = sqlalchemy.make_url(url).set(drivername="sqlite")
        with sqlalchemy.create_engine(plain).begin() as connection:
            upgrade(connection, migrations)
        return
    engine = new_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(_ONE_AT_A_TIME)
            await connection.run_sync(upgrade, migrations)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    try:
        asyncio.run(_main(sys.stdin.readline().strip(), Path(sys.argv[1])))
    except sqlalchemy.exc.DBAPIError as error:
        # The last line is what its caller tells; SQLAlchemy's own ends with a page of its manual.
        sys.exit(" ".join(str(error.orig).split()))
