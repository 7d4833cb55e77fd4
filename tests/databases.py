"""Databases that are up to date, made once a test run and copied for each test.

Services bring a database up to date by a process of its own, which takes a second.
"""

import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy

from portlayer.migrate import upgrade


@cache
def _template(migrations: Path) -> bytes:
    with tempfile.TemporaryDirectory(prefix="vic-database-") as directory:
        path = Path(directory) / "template.db"
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            upgrade(connection, migrations)
        engine.dispose()
        return path.read_bytes()


def place_database(path: Path, migrations: Path) -> None:
    """Put an empty database with the newest schema at a path, unless something is there."""
    if not path.exists():
        path.write_bytes(_template(migrations))
