"""What the facet writes of containers in its database, each change with its events."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from vic.tether.v1 import health_pb2

from portlayer.errors import AlreadyExists, Reason, TurnLost
from portlayer.fencing import held_turn
from portlayer.neighbours import Connection
from portlayer.prepared import Prepared, Query
from services.exec.admission import STORED_LIMITS, limits_of
from services.exec.history import NewEvent, append_events
from services.exec.lookup import Lookup
from services.exec.record import Record
from services.exec.schema import CONTAINERS, POSITIONS, new_row_of, row_of
from services.exec.states import State

REPORTS = "reports"
"""What tells how far interaction's reports were written."""

MIGRATIONS = Path(__file__).parent / "migrations"


# Who has an ID or a name.
_OWNERS = sa.select(CONTAINERS.c.id).where(
    sa.or_(CONTAINERS.c.id == sa.bindparam("its_id"), CONTAINERS.c.name == sa.bindparam("its_name"))
)
# What decides whether there may be one container more, in one look.
_BEFORE_ONE_MORE = Query(
    sa.select(
        sa.select(CONTAINERS.c.id)
        .where(CONTAINERS.c.id == sa.bindparam("its_id"))
        .scalar_subquery(),
        sa.select(CONTAINERS.c.id)
        .where(CONTAINERS.c.name == sa.bindparam("its_name"))
        .scalar_subquery(),
        sa.select(sa.func.count()).select_from(CONTAINERS).scalar_subquery(),
        STORED_LIMITS.scalar_subquery(),
    )
)
_INSERT = Prepared(CONTAINERS.insert())
# One container, unless somebody has written it by a later turn than ours.
_OURS = sa.and_(
    CONTAINERS.c.id == sa.bindparam("its_id"), CONTAINERS.c.turn <= sa.bindparam("our_turn")
)
_UPDATE = Prepared(CONTAINERS.update().where(_OURS))
_OF_ITS_BOOT = CONTAINERS.c.boot_id == sa.bindparam("its_boot")
_UPDATE_EXPECTED = Prepared(
    CONTAINERS.update().where(_OURS, _OF_ITS_BOOT, CONTAINERS.c.state == sa.bindparam("its_state"))
)
_RETIRE = Prepared(CONTAINERS.update().where(_OURS, _OF_ITS_BOOT))
_DELETE = Prepared(CONTAINERS.delete().where(_OURS))
_FIND = sa.select(CONTAINERS.c.id).where(_OURS)
# Stopped on purpose, which is looked for in the row itself.
_BY_HAND = sa.and_(
    sa.bindparam("anew", type_=sa.Boolean).is_(False),
    sa.or_(CONTAINERS.c.stopped_by_hand, CONTAINERS.c.state == State.STOPPING.value),
)
_END = Prepared(
    CONTAINERS.update()
    .where(
        CONTAINERS.c.id == sa.bindparam("its_id"),
        _OF_ITS_BOOT,
        CONTAINERS.c.state.in_([sa.literal(state.value) for state in State if state.runs]),
    )
    .values(
        state=sa.case(
            (_BY_HAND, State.EXITED.value),
            else_=sa.bindparam("its_state", type_=sa.SmallInteger),
        ),
        restart_count=sa.case(
            (_BY_HAND, CONTAINERS.c.restart_count),
            else_=sa.bindparam("restarts", type_=sa.Integer),
        ),
        pid=0,
        held_signals="",
    )
)
# Where no turn is held there is nobody to be fenced.
_ANY_TURN = 2**63 - 1


class Containers(Lookup):
    """The containers and their events. A change and its events are one transaction."""

    async def reserve(self, record: Record, disk_bytes: int = 0) -> None:
        """Insert a record that only holds its ID and name until :meth:`complete`.

        Raises AlreadyExists: CONTAINER_EXISTS for the ID, NAME_IN_USE for the name; and
        ResourceExhausted (LIMIT_EXCEEDED) when there are as many containers, each with a disk of so
        many bytes, as may be.
        """
        async with self._store.transaction() as connection:
            wanted = {"its_id": record.id, "its_name": record.name}
            found = await _BEFORE_ONE_MORE.on(connection, wanted)
            ((same, owner, existing, limits),) = found
            if same is None and owner is None:
                limits_of(limits).admit_container(existing, disk_bytes)
                await _INSERT.on(connection, [{"ready": False, **new_row_of(record)}])
                return
        if same is not None:
            raise AlreadyExists(f"container {record.id} exists", Reason.CONTAINER_EXISTS)
        raise _name_in_use(record.name, owner)

    async def complete(self, record: Record, events: Iterable[NewEvent]) -> None:
        """Make a reserved record visible."""
        async with self._store.transaction() as connection:
            await _write(connection, record.id, {"ready": True, **row_of(record)})
            await append_events(connection, events)

    async def restore(self, record: Record) -> None:
        """Insert a record that was found beside a disk, or do nothing when it is there."""
        async with self._store.transaction() as connection:
            wanted = {"its_id": record.id, "its_name": record.name}
            ids = set((await connection.execute(_OWNERS, wanted)).scalars())
            if record.id in ids:
                return
            if ids:
                # Two disks claim one name: the younger container keeps its data under its ID.
                record = replace(record, name=record.id[:12])
            await _INSERT.on(connection, [{"ready": True, **new_row_of(record)}])

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
        row = row_of(record)
        if by_hand is not None:
            row["stopped_by_hand"] = by_hand
        update = _UPDATE
        if expect is not None:
            update = _UPDATE_EXPECTED
            row |= {"its_state": expect.state.value, "its_boot": expect.boot_id}
        async with self._store.transaction() as connection:
            if not await _write(connection, record.id, row, update):
                return False
            await append_events(connection, events)
        return True

    async def stop_by_hand(self, record: Record, by_hand: bool = True) -> bool:
        """Write that somebody ends a container.

        Returns whether its boot still runs, or it still waits for its restart where it did.
        """
        waits = record.state is State.RESTARTING
        states = [state for state in State if (state is record.state if waits else state.has_vm)]
        async with self._store.transaction() as connection:
            result = await connection.execute(
                CONTAINERS.update()
                .where(
                    CONTAINERS.c.id == record.id,
                    CONTAINERS.c.boot_id == record.boot_id,
                    CONTAINERS.c.state.in_([state.value for state in states]),
                )
                .values(stopped_by_hand=by_hand)
            )
            return bool(result.rowcount)

    async def end(self, ended: Record, events: Iterable[NewEvent], *, anew: bool = False) -> bool:
        """Write how a boot ended; return whether it ran until now, so that one exit counts once.

        It needs no turn, and writes nothing else of the record than the exit. Where the container
        has been stopped meanwhile its restart policy has nothing to say any more, unless it begins
        ``anew`` with the host.
        """
        state = State.RESTARTING if ended.state is State.RESTARTING else State.EXITED
        row = {
            "its_id": ended.id,
            "its_boot": ended.boot_id,
            "anew": anew,
            "its_state": state.value,
            "restarts": ended.restart_count,
            "restart_at_ns": ended.restart_at_ns,
            "restart_delay_ns": ended.restart_delay_ns,
            "exit_code": ended.exit_code,
            "oom_killed": ended.oom_killed,
            "finished_ns": ended.finished_ns,
        }
        async with self._store.transaction() as connection:
            if not await _END.on(connection, [row]):
                return False
            await append_events(connection, events)
        return True

    async def report(
        self,
        sequence: int,
        record: Record,
        events: Iterable[NewEvent],
        health: health_pb2.Health | None = None,
    ) -> bool:
        """Write what a numbered report says; return whether it says anything new.

        Reports are written in their order, so that one whose number is not above the last one's was
        written before: by this replica, before a restart, or by another one. Health is the boot's
        that the record names, and that alone.
        """
        this = POSITIONS.c.source == REPORTS
        async with self._store.transaction() as connection:
            query = sa.select(POSITIONS.c.sequence).where(this)
            taken = (await connection.execute(query)).scalar()
            if taken is None:
                await connection.execute(
                    POSITIONS.insert().values(source=REPORTS, sequence=sequence)
                )
            elif taken >= sequence:
                return False
            else:
                await connection.execute(POSITIONS.update().where(this).values(sequence=sequence))
            if health is not None:
                result = await connection.execute(
                    CONTAINERS.update()
                    .where(CONTAINERS.c.id == record.id, CONTAINERS.c.boot_id == record.boot_id)
                    .values(health=health.SerializeToString(), health_boot_id=record.boot_id)
                )
                if not result.rowcount:
                    return False
            await append_events(connection, events)
        return True

    async def hold_signal(self, record: Record, number: int) -> bool:
        """Keep a signal for when a container goes on; return whether it is still held itself."""
        held = CONTAINERS.c.held_signals
        async with self._store.transaction() as connection:
            result = await connection.execute(
                CONTAINERS.update()
                .where(
                    CONTAINERS.c.id == record.id,
                    CONTAINERS.c.boot_id == record.boot_id,
                    CONTAINERS.c.state == State.PAUSED.value,
                )
                .values(held_signals=held + f"{number} ")
            )
            return bool(result.rowcount)

    async def take_signals(self, container_id: str) -> list[int]:
        """Return the signals that were kept, each once."""
        this = CONTAINERS.c.id == container_id
        async with self._store.transaction() as connection:
            query = sa.select(CONTAINERS.c.held_signals).where(this)
            held = (await connection.execute(query)).scalar() or ""
            if held:
                await connection.execute(CONTAINERS.update().where(this).values(held_signals=""))
        return list(dict.fromkeys(map(int, held.split())))

    async def retire(self, record: Record) -> None:
        """Write that nothing is left of a boot: its record names none any more."""
        async with self._store.transaction() as connection:
            row = {"boot_id": "", "its_boot": record.boot_id}
            await _write(connection, record.id, row, _RETIRE)

    async def check_name(self, record: Record) -> None:
        """Return when nobody else has a record's name. Raises AlreadyExists (NAME_IN_USE)."""
        async with self._store.reading() as connection:
            await _check_name(connection, record)

    async def rename(self, record: Record, new_event: NewEvent) -> None:
        """Write a record's name and specification. Raises AlreadyExists (NAME_IN_USE)."""
        async with self._store.transaction() as connection:
            await _check_name(connection, record)
            row = row_of(record)
            await _write(connection, record.id, {"name": row["name"], "spec": row["spec"]})
            await append_events(connection, [new_event])

    async def respecify(self, record: Record, new_event: NewEvent) -> None:
        """Write a record's specification."""
        async with self._store.transaction() as connection:
            await _write(connection, record.id, {"spec": row_of(record)["spec"]})
            await append_events(connection, [new_event])

    async def delete(self, container_id: str, events: Iterable[NewEvent] = ()) -> None:
        """Delete a record, reserved or complete; no error when it isn't there."""
        async with self._store.transaction() as connection:
            this = {"its_id": container_id, "our_turn": _turn_at(container_id)}
            if not await _DELETE.on(connection, [this]):
                await _check_turn(connection, container_id)
            await append_events(connection, events)


async def _write(
    connection: Connection,
    container_id: str,
    values: dict[str, Any],
    update: Prepared = _UPDATE,
) -> bool:
    """Write a container by the turn that is held; return whether it was as ``update`` expects.

    Raises TurnLost where another replica has had a turn since.
    """
    our_turn = _turn_at(container_id)
    if our_turn != _ANY_TURN:
        values = {**values, "turn": our_turn}
    row = {**values, "its_id": container_id, "our_turn": our_turn}
    written = await update.on(connection, [row])
    if not written:
        await _check_turn(connection, container_id)
    return bool(written)


def _turn_at(container_id: str) -> int:
    """Return the number of the turn that is held at a container; nobody's is later without one."""
    turn = held_turn()
    return _ANY_TURN if turn is None or turn.name != container_id else turn.number


async def _check_turn(connection: Connection, container_id: str) -> None:
    """Raise TurnLost for a container that somebody has written by a later turn than ours."""
    our_turn = _turn_at(container_id)
    if our_turn == _ANY_TURN:
        return
    any_turn = {"its_id": container_id, "our_turn": _ANY_TURN}
    there = (await connection.execute(_FIND, any_turn)).scalar() is not None
    ours = (
        await connection.execute(_FIND, {**any_turn, "our_turn": our_turn})
    ).scalar() is not None
    if there and not ours:
        raise TurnLost(f"another replica has had the turn of container {container_id} since")


async def _check_name(connection: Connection, record: Record) -> None:
    same_name = (CONTAINERS.c.name == record.name, CONTAINERS.c.id != record.id)
    query = sa.select(CONTAINERS.c.id).where(*same_name)
    other = (await connection.execute(query)).scalar()
    if other is not None:
        raise _name_in_use(record.name, other)


def _name_in_use(name: str, owner: str) -> AlreadyExists:
    return AlreadyExists(
        f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
        "You have to remove (or rename) that container to be able to reuse that name.",
        Reason.NAME_IN_USE,
        name=name,
        owner=owner,
    )
