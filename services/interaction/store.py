"""The facet's tables: containers, processes, events."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from portlayer.neighbours import Neighbours, tell
from portlayer.prepared import Prepared, Query
from portlayer.store import Store
from services.interaction.sysloglines import SyslogFormat, SyslogTarget

EVENTS_CHANNEL: Final = "vic_interaction_events"
"""Replicas tell one another on it that there are new events."""
TETHERS_CHANNEL: Final = "vic_interaction_tethers"
"""Replicas tell one another on it which tether that waited was given away."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"

_metadata = sa.MetaData()
_containers = sa.Table(
    "containers",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("discard_logs", sa.Boolean),
    sa.Column("log_max_size", sa.BigInteger),
    sa.Column("log_max_files", sa.BigInteger),
    sa.Column("tty", sa.Boolean),
    sa.Column("open_stdin", sa.Boolean),
    sa.Column("stdin_once", sa.Boolean),
    sa.Column("syslog", sa.JSON(none_as_null=True)),
    sa.Column("boot_id", sa.String),
    sa.Column("holder", sa.String),
)
_replicas = sa.Table(
    "replicas",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("address", sa.String),
)
_processes = sa.Table(
    "processes",
    _metadata,
    sa.Column("container_id", sa.String, primary_key=True),
    sa.Column("process_id", sa.String, primary_key=True),
    sa.Column("boot_id", sa.String),
    sa.Column("spec", sa.LargeBinary),
    sa.Column("pid", sa.Integer),
    sa.Column("started_ns", sa.BigInteger),
    sa.Column("exit_code", sa.Integer),
    sa.Column("oom_killed", sa.Boolean),
    sa.Column("finished_ns", sa.BigInteger),
)
_tethers = sa.Table(
    "tethers",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("container_id", sa.String),
    sa.Column("boot_id", sa.String),
)
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("event", sa.LargeBinary),
)

# What is done at each start of a container.
_ADD_CONTAINER = Prepared(_containers.insert())
_CHANGE_CONTAINER = Prepared(_containers.update().where(_containers.c.id == sa.bindparam("its_id")))
_FORGET_CONTAINER = Prepared(_containers.delete().where(_containers.c.id == sa.bindparam("of")))
_ADD_PROCESS = Prepared(_processes.insert())
_CHANGE_PROCESS = Prepared(
    _processes.update().where(
        _processes.c.container_id == sa.bindparam("of"),
        _processes.c.process_id == sa.bindparam("its_id"),
    )
)
_FORGET_PROCESSES = Prepared(
    _processes.delete().where(_processes.c.container_id == sa.bindparam("of"))
)
_FORGET_FORMER = Prepared(
    _processes.delete().where(
        _processes.c.container_id == sa.bindparam("of"),
        _processes.c.boot_id != "",
        _processes.c.boot_id != sa.bindparam("present"),
        _processes.c.spec.is_(None),
    )
)
_GIVEN = Query(
    sa.select(_tethers.c.container_id, _tethers.c.boot_id).where(
        _tethers.c.id == sa.bindparam("its_id")
    )
)
_ADD_TETHER = Prepared(_tethers.insert())
_FORGET_TETHER = Prepared(_tethers.delete().where(_tethers.c.container_id == sa.bindparam("of")))
_ADD_EVENT = Prepared(_events.insert())
_FORGET_EVENTS = Prepared(
    _events.delete().where(
        _events.c.sequence <= sa.bindparam("last"),
        _events.c.sequence < sa.select(sa.func.max(_events.c.sequence)).scalar_subquery(),
    )
)


@dataclass(frozen=True)
class Options:
    """What exec says of a container when it registers it."""

    discard_logs: bool = False
    log_max_size: int = 0
    log_max_files: int = 1
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    syslog: SyslogTarget | None = None
    """Where the log's lines are sent as well."""


@dataclass(frozen=True)
class Exit:
    """How a process ended."""

    exit_code: int
    oom_killed: bool
    finished_ns: int


@dataclass(frozen=True)
class ContainerRow:
    """A container that is known."""

    id: str
    options: Options
    boot_id: str = ""
    holder: str = ""
    """The replica whose it is; empty when it is nobody's, and where there is but one."""


@dataclass(frozen=True)
class Given:
    """The boot of the container that a tether which had waited was given to, for good."""

    container_id: str
    boot_id: str


@dataclass(frozen=True)
class Holder:
    """The replica that has a container, as it is on record."""

    id: str
    address: str


@dataclass(frozen=True)
class ProcessRow:
    """What is known of a process through restarts."""

    container_id: str
    process_id: str
    boot_id: str = ""
    spec: bytes | None = None
    pid: int = 0
    started_ns: int = 0
    exit: Exit | None = None


class InteractionStore:
    """The tables, as values."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def neighbours(self) -> Neighbours:
        """The other processes on this database."""
        return self._store.neighbours

    async def containers(self) -> list[ContainerRow]:
        """Return all containers."""
        async with self._store.transaction() as connection:
            rows = (await connection.execute(sa.select(_containers))).mappings().all()
        return [_container(dict(row)) for row in rows]

    async def container_ids(self) -> list[str]:
        """Return the IDs of all containers."""
        async with self._store.reading() as connection:
            return list((await connection.execute(sa.select(_containers.c.id))).scalars())

    async def container(self, container_id: str) -> tuple[ContainerRow, list[ProcessRow]] | None:
        """Return a container and its processes, or None when it isn't known."""
        async with self._store.reading() as connection:
            found = await connection.execute(
                sa.select(_containers).where(_containers.c.id == container_id)
            )
            row = found.mappings().one_or_none()
            if row is None:
                return None
            rows = await connection.execute(
                sa.select(_processes).where(_processes.c.container_id == container_id)
            )
            return _container(dict(row)), [_process(dict(one)) for one in rows.mappings()]

    async def put_replica(self, replica_id: str, address: str) -> None:
        """Put a new replica on record, with the address at which the others reach it."""
        async with self._store.transaction() as connection:
            await connection.execute(_replicas.insert().values(id=replica_id, address=address))

    async def replicas(self) -> list[str]:
        """Return the IDs of all replicas on record."""
        async with self._store.reading() as connection:
            return list((await connection.execute(sa.select(_replicas.c.id))).scalars())

    async def remove_replica(self, replica_id: str) -> None:
        """Forget a replica that is gone; what it had is nobody's."""
        async with self._store.transaction() as connection:
            held = _containers.c.holder == replica_id
            await connection.execute(_containers.update().where(held).values(holder=""))
            await connection.execute(_replicas.delete().where(_replicas.c.id == replica_id))

    async def holder(self, container_id: str) -> Holder | None:
        """Return who has a container, or None when it isn't known."""
        query = (
            sa.select(_containers.c.holder, _replicas.c.address)
            .join_from(_containers, _replicas, _containers.c.holder == _replicas.c.id, isouter=True)
            .where(_containers.c.id == container_id)
        )
        async with self._store.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Holder(row.holder, row.address or "")

    async def take(self, container_id: str, former: str, holder: str) -> bool:
        """Make a container a replica's if it is still the former one's; tell whether it was."""
        async with self._store.transaction() as connection:
            result = await connection.execute(
                _containers.update()
                .where(_containers.c.id == container_id, _containers.c.holder == former)
                .values(holder=holder)
            )
        return bool(result.rowcount)

    async def container_of(self, process_id: str) -> str | None:
        """Return the container of an additional process, or None when that isn't known."""
        query = sa.select(_processes.c.container_id).where(_processes.c.process_id == process_id)
        async with self._store.reading() as connection:
            found: str | None = (await connection.execute(query.limit(1))).scalar()
        return found

    async def processes(self) -> list[ProcessRow]:
        """Return all processes; those without a container are deleted."""
        known = sa.select(_containers.c.id)
        async with self._store.transaction() as connection:
            await connection.execute(
                _processes.delete().where(_processes.c.container_id.not_in(known))
            )
            rows = (await connection.execute(sa.select(_processes))).mappings().all()
        return [_process(dict(row)) for row in rows]

    async def put_container(self, row: ContainerRow) -> None:
        """Insert a container, or replace its options; an existing one keeps boot and holder."""
        values = asdict(row.options)
        if row.options.syslog is not None:
            values["syslog"]["format"] = row.options.syslog.format.value
        own = {"id": row.id, "boot_id": row.boot_id, "holder": row.holder}
        async with self._store.transaction() as connection:
            if not await _CHANGE_CONTAINER.on(connection, [{"its_id": row.id, **values}]):
                await _ADD_CONTAINER.on(connection, [{**own, **values}])

    async def set_boot(self, container_id: str, boot_id: str) -> None:
        """Write a container's present boot, and forget the processes of former ones."""
        async with self._store.transaction() as connection:
            changed = {"its_id": container_id, "boot_id": boot_id}
            await _CHANGE_CONTAINER.on(connection, [changed])
            former = {"of": container_id, "present": boot_id}
            await _FORGET_FORMER.on(connection, [former])

    async def given(self, tether_id: str) -> Given | None:
        """Return whose a tether that had waited is, or None when it is nobody's."""
        rows = await self._store.read(_GIVEN, {"its_id": tether_id})
        return Given(*rows[0]) if rows else None

    async def give(self, tether_id: str, given: Given) -> Given:
        """Write whose a tether is from now on, unless that is on record; return whose it is.

        The one of the container's former boot is forgotten: its VM is gone.
        """
        async with self._store.transaction() as connection:
            if rows := await _GIVEN.on(connection, {"its_id": tether_id}):
                return Given(*rows[0])
            await _FORGET_TETHER.on(connection, [{"of": given.container_id}])
            await _ADD_TETHER.on(connection, [{"id": tether_id, **asdict(given)}])
            await tell(connection, TETHERS_CHANNEL, tether_id)
        return given

    async def remove_container(self, container_id: str) -> None:
        """Delete a container, its processes and its tether; no error when it isn't there."""
        async with self._store.transaction() as connection:
            for forget in (_FORGET_TETHER, _FORGET_PROCESSES, _FORGET_CONTAINER):
                await forget.on(connection, [{"of": container_id}])

    async def put_process(self, row: ProcessRow, event: bytes | None = None) -> int:
        """Write a process, with the event that changed it; return the event's number or 0."""
        values = _process_values(row)
        key = {"of": row.container_id, "its_id": row.process_id}
        async with self._store.transaction() as connection:
            if not await _CHANGE_PROCESS.on(connection, [{**key, **values}]):
                await _ADD_PROCESS.on(connection, [values])
            if event is None:
                return 0
            number = await _ADD_EVENT.number(connection, {"event": event})
            await tell(connection, EVENTS_CHANNEL, "")
        return number

    async def put_event(self, event: bytes, instead_of: int = 0) -> int:
        """Write an event in the place of an older one, if any; return its number."""
        async with self._store.transaction() as connection:
            number = await _ADD_EVENT.number(connection, {"event": event})
            if instead_of:
                await connection.execute(_events.delete().where(_events.c.sequence == instead_of))
            await tell(connection, EVENTS_CHANNEL, "")
        return number

    async def remove_processes(self, container_id: str, process_ids: Iterable[str]) -> None:
        """Delete processes."""
        async with self._store.transaction() as connection:
            await connection.execute(
                _processes.delete().where(
                    _processes.c.container_id == container_id,
                    _processes.c.process_id.in_(list(process_ids)),
                )
            )

    async def events(self, after: int = 0) -> list[tuple[int, bytes]]:
        """Return the events after a number with their numbers, oldest first."""
        query = sa.select(_events).where(_events.c.sequence > after).order_by(_events.c.sequence)
        async with self._store.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [(row.sequence, row.event) for row in rows]

    async def oldest_event(self) -> int:
        """Return the number of the oldest event there is, or 0."""
        async with self._store.reading() as connection:
            oldest = await connection.execute(sa.select(sa.func.min(_events.c.sequence)))
            return oldest.scalar() or 0

    async def remove_events(self, sequence: int) -> None:
        """Delete events up to a number; the newest stays, for its number is to be known."""
        async with self._store.transaction() as connection:
            await _FORGET_EVENTS.on(connection, [{"last": sequence}])


def _container(row: dict[str, Any]) -> ContainerRow:
    names = {"id", "boot_id", "holder"}
    if row["syslog"] is not None:
        target = row["syslog"]
        row["syslog"] = SyslogTarget(**{**target, "format": SyslogFormat(target["format"])})
    return ContainerRow(**{name: row.pop(name) for name in names}, options=Options(**row))


def _process(row: dict[str, Any]) -> ProcessRow:
    how = Exit(row.pop("exit_code"), row.pop("oom_killed"), row.pop("finished_ns"))
    return ProcessRow(**row, exit=None if how.exit_code is None else how)


def _process_values(row: ProcessRow) -> dict[str, Any]:
    how = row.exit
    return {
        "container_id": row.container_id,
        "process_id": row.process_id,
        "boot_id": row.boot_id,
        "spec": row.spec,
        "pid": row.pid,
        "started_ns": row.started_ns,
        "exit_code": None if how is None else how.exit_code,
        "oom_killed": how is not None and how.oom_killed,
        "finished_ns": 0 if how is None else how.finished_ns,
    }
