"""The record of a container as the facet keeps it."""

from dataclasses import dataclass, field

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
        status = container_pb2.ContainerStatus(
            state=self.state.value,
            pid=self.pid,
            exit_code=self.exit_code,
            error=self.error,
            oom_killed=self.oom_killed,
            restart_count=self.restart_count,
            start_kind=self.start_kind,  # type: ignore[arg-type]
            kernel_release=self.kernel_release,
        )
        if self.started_ns:
            status.started_at.CopyFrom(timestamp(self.started_ns))
        if self.finished_ns:
            status.finished_at.CopyFrom(timestamp(self.finished_ns))
        if self.started_ns and is_checked(self.spec.health_check):
            status.health.CopyFrom(self.health or _STARTING)
        return container_pb2.Container(
            id=self.id,
            spec=self.spec,
            status=status,
            created_at=timestamp(self.created_ns),
            endpoints=self.endpoints,
            disk_chain_length=self.disk_chain_length,
            published_ports=self.published_ports,
        )

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
