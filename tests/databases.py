"""Databases that are up to date, made once a test run and copied for each test; and PostgreSQL.

Services bring a database up to date by a process of its own, which takes a second.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server of its own; gives the SQLAlchemy URL of an empty database.

    Raises RuntimeError where Debian's package isn't there. It won't run as root: as root it runs as
    nobody.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError("no PostgreSQL: `make test-packages` installs Debian's")
    programs = found[-1].parent
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    directory = Path(tempfile.mkdtemp(prefix="vic-postgresql-"))
    if nobody:
        os.chown(directory, 65534, 65534)
        # Its socket is for services, each with a user of its own.
        directory.chmod(0o711)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, *arguments],
            check=True,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            **nobody,  # type: ignore[call-overload]
        )

    data = str(directory / "data")
    try:
        run("initdb", "-D", data, "--auth=trust", "--username=vic", "--no-sync", "--encoding=UTF8")
        options = f"-k {directory} -c listen_addresses= -c fsync=off -c max_connections=200"
        run("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(directory / "log"), "start")
        try:
            yield f"postgresql+asyncpg://vic@/postgres?host={directory}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)
