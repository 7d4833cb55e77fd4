"""The tables of the facet's database, and how a record becomes a row of one."""

from typing import Any

import sqlalchemy as sa
from vic.exec.v1 import container_pb2
from vic.tether.v1 import health_pb2

from services.exec.limits import Size
from services.exec.record import Record, tell
from services.exec.states import State

_metadata = sa.MetaData()
CONTAINERS = sa.Table(
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
    sa.Column("vm_memory_bytes", sa.BigInteger),
    sa.Column("vm_cpus", sa.Integer),
    sa.Column("health", sa.LargeBinary),
    sa.Column("health_boot_id", sa.String),
    # Number of the turn that wrote it last; see portlayer/fencing.py.
    sa.Column("turn", sa.BigInteger),
)
EVENTS = sa.Table(
    "events",
    _metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("time_ns", sa.BigInteger),
    sa.Column("kind", sa.SmallInteger),
    sa.Column("container_id", sa.String),
    sa.Column("attributes", sa.JSON),
    sa.Column("detail", sa.Text),
)
FACTS = sa.Table(
    "facts",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Text),
)
# "VERB REQUEST_ID", and what it was done to.
REQUESTS = sa.Table(
    "requests",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("container_id", sa.String),
    sa.Column("time_ns", sa.BigInteger),
)
POSITIONS = sa.Table(
    "watch_positions",
    _metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
)


# What of a container's row is its record.
RECORD = tuple(
    column for column in CONTAINERS.columns if column.name not in ("ready", "held_signals", "turn")
)
_NAMES = tuple(column.name for column in RECORD)
# Written without the container's turn, which comes between others' reading and writing: no row_of.
_UNTOUCHED = {"stopped_by_hand": False, "held_signals": "", "health": None, "health_boot_id": ""}
_FIRST = {**_UNTOUCHED, "turn": 0}


def row_of(record: Record) -> dict[str, Any]:
    """Return what is written of a record by who has its container's turn."""
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
        "vm_memory_bytes": record.vm.memory_bytes if record.vm else 0,
        "vm_cpus": record.vm.cpus if record.vm else 0,
    }


def new_row_of(record: Record) -> dict[str, Any]:
    """Return the first row of a record."""
    return {**row_of(record), **_FIRST}


def fill(container: container_pb2.Container, row: Any) -> None:
    """Fill an empty message with what a row of ``RECORD`` says, as its record's message does.

    What is stored is read where it stays: a record would be made, and all of it copied twice.
    """
    container.ParseFromString(row.endpoints)
    container.spec.ParseFromString(row.spec)
    tell(container, row, row.state, _health_of(row))


def record_of(row: Any) -> Record:
    """Return the record of a row of ``RECORD``."""
    # By their places: a row's own mapping looks each column up by its name.
    values = dict(zip(_NAMES, row, strict=True))
    values["state"] = State(values["state"])
    values["spec"] = container_pb2.ContainerSpec.FromString(values["spec"])
    network = container_pb2.Container.FromString(values["endpoints"])
    values["endpoints"] = tuple(network.endpoints)
    values["published_ports"] = tuple(network.published_ports)
    values["health"] = _health_of(row)
    del values["health_boot_id"]
    size = Size(values.pop("vm_memory_bytes"), values.pop("vm_cpus"))
    return Record(**values, vm=size if size.memory_bytes else None)


def _health_of(row: Any) -> health_pb2.Health | None:
    # Of another boot than the present one it says nothing; of the last one it does.
    if row.health and row.boot_id in ("", row.health_boot_id):
        return health_pb2.Health.FromString(row.health)
    return None
