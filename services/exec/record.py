"""The record of a container as the facet keeps it."""

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1 import container_pb2
from vic.tether.v1 import health_pb2

from services.exec.limits import Size
from services.exec.states import State

_STARTING = health_pb2.Health(status=health_pb2.HEALTH_STATUS_STARTING)
# Of what was written beside a disk: states in which there was a run, its end still to come.
_RAN = frozenset(state.value for state in State if state.has_vm)


@dataclass(frozen=True)
class Record:
    """One container. Times are nanoseconds since the epoch, zero where it hasn't happened.

    ``spec`` is the contract's message, since it is also what lies beside the container's disk; it
    is never changed in place.
    """

    id: str
    name: str
    spec: container_pb2.ContainerSpec
    created_ns: int
    state: State = State.CREATED
    # The run of the VM, new at every start; empty when nothing is left of one.
    boot_id: str = ""
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    restart_count: int = 0
    start_kind: int = container_pb2.START_KIND_UNSPECIFIED
    kernel_release: str = ""
    # What the VM of the present or last run was given; None where that isn't known.
    vm: Size | None = None
    endpoints: tuple[container_pb2.ContainerEndpoint, ...] = field(default=())
    # Of the present run, or of the last one.
    published_ports: tuple[container_pb2.PortBinding, ...] = ()
    disk_chain_length: int = 0
    # Somebody stopped or killed it: its restart policy leaves it alone until it is started again.
    stopped_by_hand: bool = False
    # When its restart policy starts it again, and the pause before that.
    restart_at_ns: int = 0
    restart_delay_ns: int = 0
    # What the tether told last of its health check, in the present run or the last one.
    health: health_pb2.Health | None = None

    def message(self) -> container_pb2.Container:
        """Return the record as the contract's message."""
        container = container_pb2.Container(
            spec=self.spec, endpoints=self.endpoints, published_ports=self.published_ports
        )
        tell(container, self, self.state.value, self.health)
        return container

    def specification(self) -> bytes:
        """Return what lies beside the container's disk: enough to make the record again."""
        container = self.message()
        # Others know these, and they change without an end or a start.
        for known in ("endpoints", "published_ports", "disk_chain_length"):
            container.ClearField(known)
        if not self.started_ns:
            container.ClearField("status")
        return container.SerializeToString(deterministic=True)


def record_from_specification(data: bytes) -> Record:
    """Make a record of what lies beside a container's disk.

    It is RUNNING when the container ran as that was written, whatever became of it since, and else
    CREATED or EXITED.

    Raises google.protobuf.message.DecodeError when the bytes are no specification.
    """
    container = container_pb2.Container.FromString(data)
    status = container.status
    if status.state in _RAN:
        state = State.RUNNING
    else:
        state = State.EXITED if status.HasField("started_at") else State.CREATED
    return Record(
        id=container.id,
        name=container.spec.name,
        spec=container.spec,
        created_ns=container.created_at.ToNanoseconds(),
        state=state,
        exit_code=status.exit_code,
        error=status.error,
        oom_killed=status.oom_killed,
        started_ns=status.started_at.ToNanoseconds(),
        finished_ns=status.finished_at.ToNanoseconds(),
        restart_count=status.restart_count,
        start_kind=status.start_kind,
        kernel_release=status.kernel_release,
    )


def tell(
    container: container_pb2.Container,
    of: Any,
    state: int,
    health: health_pb2.Health | None,
) -> None:
    """Write the rest into a message that has the specification, and what there is of networks.

    ``of`` is a record or its row in the database: what is the same in both has one name.
    """
    container.id = of.id
    container.disk_chain_length = of.disk_chain_length
    _set(container.created_at, of.created_ns)
    status = container.status
    status.state = state  # type: ignore[assignment]
    status.pid = of.pid
    status.exit_code = of.exit_code
    status.error = of.error
    status.oom_killed = of.oom_killed
    status.restart_count = of.restart_count
    status.start_kind = of.start_kind
    status.kernel_release = of.kernel_release
    if of.started_ns:
        _set(status.started_at, of.started_ns)
    if of.finished_ns:
        _set(status.finished_at, of.finished_ns)
    if of.started_ns and is_checked(container.spec.health_check):
        status.health.CopyFrom(health or _STARTING)


def _set(moment: Timestamp, nanoseconds: int) -> None:
    moment.seconds, moment.nanos = divmod(nanoseconds, 10**9)
    # The epoch itself is a time, too.
    moment.SetInParent()


def is_checked(check: container_pb2.HealthCheck) -> bool:
    """Whether a health check has anything to run."""
    return bool(check.test) and check.test[0] != "NONE"


def timestamp(nanoseconds: int) -> Timestamp:
    """Return a time as the contract's message."""
    whole, nanos = divmod(nanoseconds, 10**9)
    return Timestamp(seconds=whole, nanos=nanos)


def seconds(duration: Duration) -> float:
    """Return a span of the contract in seconds, whatever its size."""
    return duration.seconds + duration.nanos / 1e9
