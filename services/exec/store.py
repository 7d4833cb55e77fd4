"""What the facet keeps in its database: containers, events, and positions in others' streams."""

import json
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from vic.exec.v1 import container_pb2

from portlayer.errors import AlreadyExists, InvalidArgument, NotFound, Reason
from portlayer.store import Store
from services.exec.limits import Limits, Size
from services.exec.record import Record
from services.exec.states import State

MIGRATIONS = Path(__file__).parent / "migrations"

# Events kept; older ones are removed as new ones come.
EVENT_HISTORY = 10_000
# Records read from the database at a time by who may not want all.
READ_AT_ONCE = 100
# Name of the fact that holds them.
LIMITS = "limits"

_metadata = sa.MetaData()
_containers = sa.Table(
    "containers",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String),
    sa.Column("ready", sa.Boolean),
    sa.Column("state", sa.SmallInteger),
    sa.Column("spec", sa.LargeBinary),
    sa.Column("created_ns", sa.BigInteger),
    sa.Column("boot_id", sa.String),
    sa.Column("pid", sa.Integer),
    sa.Column("exit_code", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("oom_killed", sa.Boolean),
    sa.Column("started_ns", sa.BigInteger),
    sa.Column("finished_ns", sa.BigInteger),
    sa.Column("restart_count", sa.Integer),
    sa.Column("start_kind", sa.SmallInteger),
    sa.Column("kernel_release", sa.String),
    sa.Column("endpoints", sa.LargeBinary),
    sa.Column("disk_chain_length", sa.Integer),
    sa.Column("stopped_by_hand", sa.Boolean),
    sa.Column("restart_at_ns", sa.BigInteger),
    sa.Column("restart_delay_ns", sa.BigInteger),
    sa.Column("held_signals", sa.Text),
)
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("time_ns", sa.BigInteger),
    sa.Column("kind", sa.SmallInteger),
    sa.Column("container_id", sa.String),
    sa.Column("attributes", sa.JSON),
)
_facts = sa.Table(
    "facts",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Text),
)
_positions = sa.Table(
    "watch_positions",
    _metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
)


@dataclass(frozen=True)
class NewEvent:
    """An event before it has its number."""

    kind: int
    container_id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class StoredEvent:
    """An event of the history."""

    sequence: int
    time_ns: int
    kind: int
    container_id: str
    attributes: Mapping[str, str]


class Containers:
    """The containers and their events. A change and its events are one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reserve(self, record: Record) -> None:
        """Insert a record that only holds its ID and name until :meth:`complete`.

        Raises AlreadyExists: CONTAINER_EXISTS for the ID, NAME_IN_USE for the name; and
        ResourceExhausted (LIMIT_EXCEEDED) when there are as many containers as may be.
        """
        async with self._store.transaction() as connection:
            taken = (
                await connection.execute(
                    sa.select(_containers.c.id).where(
                        sa.or_(_containers.c.id == record.id, _containers.c.name == record.name)
                    )
                )
            ).scalars()
            owners = set(taken)
            if not owners:
                count = sa.select(sa.func.count()).select_from(_containers)
                existing = (await connection.execute(count)).scalar() or 0
                (await _limits(connection)).admit_container(existing)
                await connection.execute(
                    _containers.insert().values(ready=False, **_new_row(record))
                )
                return
        if record.id in owners:
            raise AlreadyExists(f"container {record.id} exists", Reason.CONTAINER_EXISTS)
        raise _name_in_use(record.name, owners.pop())

    async def admit(self, record: Record, size_of: Callable[[Record], Size]) -> None:
        """Write that a container starts. Raises ResourceExhausted (LIMIT_EXCEEDED), leaving it.

        Looking at what runs and writing are one step, lest two starts take the same room.
        """
        if await self.limits() == Limits():
            return
        running = [state.value for state in State if state.has_vm]
        others = _visible().where(_containers.c.state.in_(running), _containers.c.id != record.id)
        async with self._store.transaction() as connection:
            limits = await _limits(connection)
            sizes = [size_of(_record(row)) for row in await connection.execute(others)]
            limits.admit_vm(size_of(record), sizes)
            await connection.execute(
                _containers.update()
                .where(_containers.c.id == record.id)
                .values(state=State.STARTING.value)
            )

    async def limits(self) -> Limits:
        """Return the limits of the VCH."""
        async with self._store.reading() as connection:
            return await _limits(connection)

    async def set_limits(self, limits: Limits) -> None:
        """Write the limits of the VCH."""
        await self.set_fact(LIMITS, json.dumps(asdict(limits)))

    async def complete(self, record: Record, events: Iterable[NewEvent]) -> None:
        """Make a reserved record visible."""
        async with self._store.transaction() as connection:
            await connection.execute(
                _containers.update()
                .where(_containers.c.id == record.id)
                .values(ready=True, **_row(record))
            )
            await _append(connection, events)

    async def restore(self, record: Record) -> None:
        """Insert a record that was found beside a disk, or do nothing when it is there."""
        async with self._store.transaction() as connection:
            taken = (
                await connection.execute(
                    sa.select(_containers.c.id).where(
                        sa.or_(_containers.c.id == record.id, _containers.c.name == record.name)
                    )
                )
            ).scalars()
            ids = set(taken)
            if record.id in ids:
                return
            if ids:
                # Two disks claim one name: the younger container keeps its data under its ID.
                record = replace(record, name=record.id[:12])
            await connection.execute(_containers.insert().values(ready=True, **_new_row(record)))

    async def resolve(self, reference: str) -> Record:
        """Return the container of an ID, a name or an unambiguous prefix of an ID.

        Raises NotFound (CONTAINER_NOT_FOUND) and InvalidArgument (AMBIGUOUS_REFERENCE).
        """
        name = reference.removeprefix("/")
        async with self._store.reading() as connection:
            exact = sa.or_(_containers.c.id == reference, _containers.c.name == name)
            rows = (await connection.execute(_visible().where(exact))).all()
            if not rows and reference and all(c in "0123456789abcdef" for c in reference):
                # "g" comes after all digits: a range, which the key's index serves.
                prefix = _containers.c.id.between(reference, reference + "g")
                rows = (await connection.execute(_visible().where(prefix).limit(2))).all()
        if not rows:
            raise NotFound(f"No such container: {reference}", Reason.CONTAINER_NOT_FOUND)
        by_id = [row for row in rows if row.id == reference]
        if len(rows) > 1 and not by_id:
            message = f"multiple IDs found with provided prefix: {reference}"
            raise InvalidArgument(message, Reason.AMBIGUOUS_REFERENCE)
        return _record(by_id[0] if by_id else rows[0])

    async def get(self, container_id: str) -> Record | None:
        """Return the container of a full ID, or None."""
        async with self._store.reading() as connection:
            row = (
                await connection.execute(_visible().where(_containers.c.id == container_id))
            ).first()
        return None if row is None else _record(row)

    async def select(self, states: Collection[State] = ()) -> list[Record]:
        """Return all containers, newest first; with states only those in one of them."""
        query = _visible().order_by(_containers.c.created_ns.desc())
        if states:
            query = query.where(_containers.c.state.in_([state.value for state in states]))
        async with self._store.reading() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def newest_first(
        self, states: Collection[State] = (), *, after: tuple[int, str] | None = None
    ) -> AsyncGenerator[Record, None]:
        """Yield the containers, newest first; with ``after`` only those after that position."""
        at = sa.tuple_(_containers.c.created_ns, _containers.c.id)
        position = after
        while True:
            query = _visible().order_by(_containers.c.created_ns.desc(), _containers.c.id.desc())
            if states:
                query = query.where(_containers.c.state.in_([state.value for state in states]))
            if position is not None:
                query = query.where(at < sa.tuple_(*position))
            async with self._store.reading() as connection:
                rows = (await connection.execute(query.limit(READ_AT_ONCE))).all()
            for row in rows:
                yield _record(row)
            if len(rows) < READ_AT_ONCE:
                return
            position = rows[-1].created_ns, rows[-1].id

    async def reserved_ids(self) -> set[str]:
        """Return the IDs whose Create has not completed."""
        query = sa.select(_containers.c.id).where(_containers.c.ready.is_(False))
        async with self._store.reading() as connection:
            return set((await connection.execute(query)).scalars())

    async def known(self, container_id: str) -> bool:
        """Tell whether there is a record of a full ID, reserved or complete."""
        query = sa.select(_containers.c.id).where(_containers.c.id == container_id)
        async with self._store.reading() as connection:
            return (await connection.execute(query)).first() is not None

    async def counts(self) -> dict[State, int]:
        """Return how many containers are in each state."""
        query = (
            sa.select(_containers.c.state, sa.func.count())
            .where(_containers.c.ready.is_(True))
            .group_by(_containers.c.state)
        )
        async with self._store.reading() as connection:
            return {State(state): count for state, count in await connection.execute(query)}

    async def update(
        self,
        record: Record,
        events: Iterable[NewEvent] = (),
        *,
        expect: Record | None = None,
        by_hand: bool | None = None,
    ) -> bool:
        """Write a record and its events in one step; return whether it was written.

        With ``expect`` it is written only while state and boot are still what ``expect`` says.
        ``stopped_by_hand``, which a signal sets in between, is ``by_hand`` where that is given and
        stays as it is otherwise. The caller has the container's turn.
        """
        where = [_containers.c.id == record.id]
        if expect is not None:
            where += [
                _containers.c.state == expect.state.value,
                _containers.c.boot_id == expect.boot_id,
            ]
        row = _row(record)
        if by_hand is not None:
            row["stopped_by_hand"] = by_hand
        async with self._store.transaction() as connection:
            result = await connection.execute(_containers.update().where(*where).values(**row))
            if not result.rowcount:
                return False
            await _append(connection, events)
        return True

    async def stop_by_hand(self, record: Record, by_hand: bool = True) -> bool:
        """Write that somebody ends a container; return whether its boot still runs."""
        async with self._store.transaction() as connection:
            result = await connection.execute(
                _containers.update()
                .where(
                    _containers.c.id == record.id,
                    _containers.c.boot_id == record.boot_id,
                    _containers.c.state.in_([state.value for state in State if state.has_vm]),
                )
                .values(stopped_by_hand=by_hand)
            )
            return bool(result.rowcount)

    async def end(self, ended: Record, events: Iterable[NewEvent]) -> bool:
        """Write how a boot ended; return whether it ran until now, so that one exit counts once.

        It needs no turn, and writes nothing else of the record than the exit. Where the container
        has been stopped meanwhile its restart policy has nothing to say any more.
        """
        state = State.RESTARTING if ended.state is State.RESTARTING else State.EXITED
        by_hand = sa.or_(_containers.c.stopped_by_hand, _containers.c.state == State.STOPPING.value)
        async with self._store.transaction() as connection:
            result = await connection.execute(
                _containers.update()
                .where(
                    _containers.c.id == ended.id,
                    _containers.c.boot_id == ended.boot_id,
                    _containers.c.state.in_([state.value for state in State if state.runs]),
                )
                .values(
                    state=sa.case((by_hand, State.EXITED.value), else_=state.value),
                    restart_count=sa.case(
                        (by_hand, _containers.c.restart_count), else_=ended.restart_count
                    ),
                    restart_at_ns=ended.restart_at_ns,
                    restart_delay_ns=ended.restart_delay_ns,
                    pid=0,
                    exit_code=ended.exit_code,
                    oom_killed=ended.oom_killed,
                    finished_ns=ended.finished_ns,
                    held_signals="",
                )
            )
            if not result.rowcount:
                return False
            await _append(connection, events)
        return True

    async def hold_signal(self, record: Record, number: int) -> bool:
        """Keep a signal for when a container goes on; return whether it is still held itself."""
        held = _containers.c.held_signals
        async with self._store.transaction() as connection:
            result = await connection.execute(
                _containers.update()
                .where(
                    _containers.c.id == record.id,
                    _containers.c.boot_id == record.boot_id,
                    _containers.c.state == State.PAUSED.value,
                )
                .values(held_signals=held + f"{number} ")
            )
            return bool(result.rowcount)

    async def take_signals(self, container_id: str) -> list[int]:
        """Return the signals that were kept, each once."""
        this = _containers.c.id == container_id
        async with self._store.transaction() as connection:
            query = sa.select(_containers.c.held_signals).where(this)
            held = (await connection.execute(query)).scalar() or ""
            if held:
                await connection.execute(_containers.update().where(this).values(held_signals=""))
        return list(dict.fromkeys(map(int, held.split())))

    async def retire(self, record: Record) -> None:
        """Write that nothing is left of a boot: its record names none any more."""
        async with self._store.transaction() as connection:
            await connection.execute(
                _containers.update()
                .where(_containers.c.id == record.id, _containers.c.boot_id == record.boot_id)
                .values(boot_id="")
            )

    async def rename(self, record: Record, new_event: NewEvent) -> None:
        """Write a record's name and specification. Raises AlreadyExists (NAME_IN_USE)."""
        async with self._store.transaction() as connection:
            other = (
                await connection.execute(
                    sa.select(_containers.c.id).where(
                        _containers.c.name == record.name, _containers.c.id != record.id
                    )
                )
            ).scalar()
            if other is not None:
                raise _name_in_use(record.name, other)
            row = _row(record)
            await connection.execute(
                _containers.update()
                .where(_containers.c.id == record.id)
                .values(name=row["name"], spec=row["spec"])
            )
            await _append(connection, [new_event])

    async def respecify(self, record: Record, new_event: NewEvent) -> None:
        """Write a record's specification."""
        async with self._store.transaction() as connection:
            await connection.execute(
                _containers.update()
                .where(_containers.c.id == record.id)
                .values(spec=_row(record)["spec"])
            )
            await _append(connection, [new_event])

    async def append(self, new_event: NewEvent) -> None:
        """Store an event that changes no record."""
        async with self._store.transaction() as connection:
            await _append(connection, [new_event])

    async def delete(self, container_id: str, events: Iterable[NewEvent] = ()) -> None:
        """Delete a record, reserved or complete; no error when it isn't there."""
        async with self._store.transaction() as connection:
            await connection.execute(_containers.delete().where(_containers.c.id == container_id))
            await _append(connection, events)

    async def events_after(
        self, sequence: int, limit: int = 500, *, since_ns: int = 0, container_id: str = ""
    ) -> list[StoredEvent]:
        """Return the next events after a number, at or after a time, oldest first.

        With ``container_id`` only that container's.
        """
        query = (
            sa.select(_events)
            .where(_events.c.sequence > sequence, _events.c.time_ns >= since_ns)
            .order_by(_events.c.sequence)
            .limit(limit)
        )
        if container_id:
            query = query.where(_events.c.container_id == container_id)
        async with self._store.reading() as connection:
            return [StoredEvent(**row._mapping) for row in await connection.execute(query)]

    async def event_range(self) -> tuple[int, int]:
        """Return the numbers of the oldest and the newest event; zeros when there is none."""
        # Two queries in one: SQLite looks up either end in the index, but for both of one query it
        # reads the whole table.
        query = sa.select(
            sa.select(sa.func.min(_events.c.sequence)).scalar_subquery(),
            sa.select(sa.func.max(_events.c.sequence)).scalar_subquery(),
        )
        async with self._store.reading() as connection:
            oldest, newest = (await connection.execute(query)).one()
        return oldest or 0, newest or 0

    async def fact(self, name: str) -> str | None:
        """Return what is known under a name of the suite as a whole."""
        query = sa.select(_facts.c.value).where(_facts.c.name == name)
        async with self._store.reading() as connection:
            return (await connection.execute(query)).scalar()

    async def set_fact(self, name: str, value: str) -> None:
        """Remember it."""
        async with self._store.transaction() as connection:
            result = await connection.execute(
                _facts.update().where(_facts.c.name == name).values(value=value)
            )
            if not result.rowcount:
                await connection.execute(_facts.insert().values(name=name, value=value))

    async def position(self, source: str) -> int:
        """Return how far another service's stream was taken in."""
        query = sa.select(_positions.c.sequence).where(_positions.c.source == source)
        async with self._store.reading() as connection:
            return int((await connection.execute(query)).scalar() or 0)

    async def set_position(self, source: str, sequence: int) -> None:
        """Remember how far another service's stream was taken in."""
        async with self._store.transaction() as connection:
            result = await connection.execute(
                _positions.update().where(_positions.c.source == source).values(sequence=sequence)
            )
            if not result.rowcount:
                await connection.execute(
                    _positions.insert().values(source=source, sequence=sequence)
                )


async def _limits(connection: AsyncConnection) -> Limits:
    query = sa.select(_facts.c.value).where(_facts.c.name == LIMITS)
    value = (await connection.execute(query)).scalar()
    return Limits(**json.loads(value)) if value else Limits()


def _visible() -> sa.Select[Any]:
    return sa.select(_containers).where(_containers.c.ready.is_(True))


def _name_in_use(name: str, owner: str) -> AlreadyExists:
    return AlreadyExists(
        f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
        "You have to remove (or rename) that container to be able to reuse that name.",
        Reason.NAME_IN_USE,
        name=name,
        owner=owner,
    )


async def _append(connection: AsyncConnection, events: Iterable[NewEvent]) -> None:
    """Number events and store them, and let the oldest go."""
    newest = 0
    for event in events:
        result = await connection.execute(
            _events.insert().values(
                time_ns=time.time_ns(),
                kind=event.kind,
                container_id=event.container_id,
                attributes=dict(event.attributes),
            )
        )
        key: Sequence[Any] | None = result.inserted_primary_key
        newest = int(key[0]) if key else newest
    if newest and newest % 100 == 0:
        await connection.execute(
            _events.delete().where(_events.c.sequence <= newest - EVENT_HISTORY)
        )


def _row(record: Record) -> dict[str, Any]:
    # Both are what a container has of networks, and are read with its record alone.
    network = container_pb2.Container(
        endpoints=record.endpoints, published_ports=record.published_ports
    )
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state.value,
        "spec": record.spec.SerializeToString(deterministic=True),
        "created_ns": record.created_ns,
        "boot_id": record.boot_id,
        "pid": record.pid,
        "exit_code": record.exit_code,
        "error": record.error,
        "oom_killed": record.oom_killed,
        "started_ns": record.started_ns,
        "finished_ns": record.finished_ns,
        "restart_count": record.restart_count,
        "start_kind": record.start_kind,
        "kernel_release": record.kernel_release,
        "endpoints": network.SerializeToString(),
        "disk_chain_length": record.disk_chain_length,
        "restart_at_ns": record.restart_at_ns,
        "restart_delay_ns": record.restart_delay_ns,
    }


def _new_row(record: Record) -> dict[str, Any]:
    # What is written without the container's turn comes between others' reading and writing, so
    # that these don't write it.
    return {**_row(record), "stopped_by_hand": False, "held_signals": ""}


def _record(row: Any) -> Record:
    values = dict(row._mapping)
    del values["ready"], values["held_signals"]
    values["state"] = State(values["state"])
    values["spec"] = container_pb2.ContainerSpec.FromString(values["spec"])
    network = container_pb2.Container.FromString(values["endpoints"])
    values["endpoints"] = tuple(network.endpoints)
    values["published_ports"] = tuple(network.published_ports)
    return Record(**values)
