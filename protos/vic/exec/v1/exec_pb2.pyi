import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vic.exec.v1 import container_pb2 as _container_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WaitCondition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_CONDITION_UNSPECIFIED: _ClassVar[WaitCondition]
    WAIT_CONDITION_NOT_RUNNING: _ClassVar[WaitCondition]
    WAIT_CONDITION_NEXT_EXIT: _ClassVar[WaitCondition]
    WAIT_CONDITION_REMOVED: _ClassVar[WaitCondition]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_CREATE: _ClassVar[EventKind]
    EVENT_KIND_START: _ClassVar[EventKind]
    EVENT_KIND_DIE: _ClassVar[EventKind]
    EVENT_KIND_STOP: _ClassVar[EventKind]
    EVENT_KIND_KILL: _ClassVar[EventKind]
    EVENT_KIND_PAUSE: _ClassVar[EventKind]
    EVENT_KIND_UNPAUSE: _ClassVar[EventKind]
    EVENT_KIND_RESTART: _ClassVar[EventKind]
    EVENT_KIND_RENAME: _ClassVar[EventKind]
    EVENT_KIND_UPDATE: _ClassVar[EventKind]
    EVENT_KIND_DESTROY: _ClassVar[EventKind]
    EVENT_KIND_OOM: _ClassVar[EventKind]
    EVENT_KIND_PRUNE: _ClassVar[EventKind]
    EVENT_KIND_ATTACH: _ClassVar[EventKind]
    EVENT_KIND_DETACH: _ClassVar[EventKind]
    EVENT_KIND_COMMIT: _ClassVar[EventKind]
    EVENT_KIND_COPY: _ClassVar[EventKind]
    EVENT_KIND_EXEC_CREATE: _ClassVar[EventKind]
    EVENT_KIND_EXEC_START: _ClassVar[EventKind]
    EVENT_KIND_EXEC_DETACH: _ClassVar[EventKind]
    EVENT_KIND_EXEC_DIE: _ClassVar[EventKind]
    EVENT_KIND_EXPORT: _ClassVar[EventKind]
    EVENT_KIND_HEALTH_STATUS: _ClassVar[EventKind]
    EVENT_KIND_RESIZE: _ClassVar[EventKind]
    EVENT_KIND_TOP: _ClassVar[EventKind]
    EVENT_KIND_ARCHIVE_PATH: _ClassVar[EventKind]
    EVENT_KIND_EXTRACT_TO_DIR: _ClassVar[EventKind]

class VolumeReach(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOLUME_REACH_UNSPECIFIED: _ClassVar[VolumeReach]
    VOLUME_REACH_READ: _ClassVar[VolumeReach]
    VOLUME_REACH_WRITE: _ClassVar[VolumeReach]
WAIT_CONDITION_UNSPECIFIED: WaitCondition
WAIT_CONDITION_NOT_RUNNING: WaitCondition
WAIT_CONDITION_NEXT_EXIT: WaitCondition
WAIT_CONDITION_REMOVED: WaitCondition
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_CREATE: EventKind
EVENT_KIND_START: EventKind
EVENT_KIND_DIE: EventKind
EVENT_KIND_STOP: EventKind
EVENT_KIND_KILL: EventKind
EVENT_KIND_PAUSE: EventKind
EVENT_KIND_UNPAUSE: EventKind
EVENT_KIND_RESTART: EventKind
EVENT_KIND_RENAME: EventKind
EVENT_KIND_UPDATE: EventKind
EVENT_KIND_DESTROY: EventKind
EVENT_KIND_OOM: EventKind
EVENT_KIND_PRUNE: EventKind
EVENT_KIND_ATTACH: EventKind
EVENT_KIND_DETACH: EventKind
EVENT_KIND_COMMIT: EventKind
EVENT_KIND_COPY: EventKind
EVENT_KIND_EXEC_CREATE: EventKind
EVENT_KIND_EXEC_START: EventKind
EVENT_KIND_EXEC_DETACH: EventKind
EVENT_KIND_EXEC_DIE: EventKind
EVENT_KIND_EXPORT: EventKind
EVENT_KIND_HEALTH_STATUS: EventKind
EVENT_KIND_RESIZE: EventKind
EVENT_KIND_TOP: EventKind
EVENT_KIND_ARCHIVE_PATH: EventKind
EVENT_KIND_EXTRACT_TO_DIR: EventKind
VOLUME_REACH_UNSPECIFIED: VolumeReach
VOLUME_REACH_READ: VolumeReach
VOLUME_REACH_WRITE: VolumeReach

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("instance_id", "driver", "hypervisor", "accelerator", "accelerator_reason", "kernel_release", "cpus", "memory_bytes", "containers", "containers_running", "containers_paused", "containers_stopped", "cold_boots", "instant_clones", "version", "ready_clones", "ready_clones_failed", "ready_clones_waiting", "limits", "vm_memory_bytes", "vm_cpus", "disk_bytes", "start_mode", "log_syslog", "allocation", "memory_reserved_by_others_bytes", "warnings")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    HYPERVISOR_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_REASON_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_PAUSED_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_STOPPED_FIELD_NUMBER: _ClassVar[int]
    COLD_BOOTS_FIELD_NUMBER: _ClassVar[int]
    INSTANT_CLONES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    READY_CLONES_FIELD_NUMBER: _ClassVar[int]
    READY_CLONES_FAILED_FIELD_NUMBER: _ClassVar[int]
    READY_CLONES_WAITING_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    VM_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    VM_CPUS_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    START_MODE_FIELD_NUMBER: _ClassVar[int]
    LOG_SYSLOG_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVED_BY_OTHERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    driver: str
    hypervisor: str
    accelerator: str
    accelerator_reason: str
    kernel_release: str
    cpus: int
    memory_bytes: int
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    cold_boots: int
    instant_clones: int
    version: str
    ready_clones: int
    ready_clones_failed: int
    ready_clones_waiting: int
    limits: Limits
    vm_memory_bytes: int
    vm_cpus: int
    disk_bytes: int
    start_mode: StartMode
    log_syslog: str
    allocation: Allocation
    memory_reserved_by_others_bytes: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, instance_id: _Optional[str] = ..., driver: _Optional[str] = ..., hypervisor: _Optional[str] = ..., accelerator: _Optional[str] = ..., accelerator_reason: _Optional[str] = ..., kernel_release: _Optional[str] = ..., cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., containers: _Optional[int] = ..., containers_running: _Optional[int] = ..., containers_paused: _Optional[int] = ..., containers_stopped: _Optional[int] = ..., cold_boots: _Optional[int] = ..., instant_clones: _Optional[int] = ..., version: _Optional[str] = ..., ready_clones: _Optional[int] = ..., ready_clones_failed: _Optional[int] = ..., ready_clones_waiting: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., vm_memory_bytes: _Optional[int] = ..., vm_cpus: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., start_mode: _Optional[_Union[StartMode, _Mapping]] = ..., log_syslog: _Optional[str] = ..., allocation: _Optional[_Union[Allocation, _Mapping]] = ..., memory_reserved_by_others_bytes: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Allocation(_message.Message):
    __slots__ = ("cpu_reservation_millis", "memory_reservation_bytes", "cpu_shares", "memory_shares", "memory_protected")
    CPU_RESERVATION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SHARES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PROTECTED_FIELD_NUMBER: _ClassVar[int]
    cpu_reservation_millis: int
    memory_reservation_bytes: int
    cpu_shares: int
    memory_shares: int
    memory_protected: bool
    def __init__(self, cpu_reservation_millis: _Optional[int] = ..., memory_reservation_bytes: _Optional[int] = ..., cpu_shares: _Optional[int] = ..., memory_shares: _Optional[int] = ..., memory_protected: _Optional[bool] = ...) -> None: ...

class StartMode(_message.Message):
    __slots__ = ("ready_clones", "ready_clones_automatic", "cold")
    READY_CLONES_FIELD_NUMBER: _ClassVar[int]
    READY_CLONES_AUTOMATIC_FIELD_NUMBER: _ClassVar[int]
    COLD_FIELD_NUMBER: _ClassVar[int]
    ready_clones: int
    ready_clones_automatic: bool
    cold: bool
    def __init__(self, ready_clones: _Optional[int] = ..., ready_clones_automatic: _Optional[bool] = ..., cold: _Optional[bool] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("containers", "memory_bytes", "cpus", "storage_bytes", "memory_overcommit_percent")
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    STORAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_OVERCOMMIT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    containers: int
    memory_bytes: int
    cpus: int
    storage_bytes: int
    memory_overcommit_percent: int
    def __init__(self, containers: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., cpus: _Optional[int] = ..., storage_bytes: _Optional[int] = ..., memory_overcommit_percent: _Optional[int] = ...) -> None: ...

class ConfigureRequest(_message.Message):
    __slots__ = ("containers", "memory_bytes", "cpus", "storage_bytes", "memory_overcommit_percent", "ready_clones", "cold", "cpu_reservation_millis", "memory_reservation_bytes", "cpu_shares", "memory_shares", "kernel", "log_syslog")
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    STORAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_OVERCOMMIT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    READY_CLONES_FIELD_NUMBER: _ClassVar[int]
    COLD_FIELD_NUMBER: _ClassVar[int]
    CPU_RESERVATION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SHARES_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    LOG_SYSLOG_FIELD_NUMBER: _ClassVar[int]
    containers: int
    memory_bytes: int
    cpus: int
    storage_bytes: int
    memory_overcommit_percent: int
    ready_clones: int
    cold: bool
    cpu_reservation_millis: int
    memory_reservation_bytes: int
    cpu_shares: int
    memory_shares: int
    kernel: str
    log_syslog: str
    def __init__(self, containers: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., cpus: _Optional[int] = ..., storage_bytes: _Optional[int] = ..., memory_overcommit_percent: _Optional[int] = ..., ready_clones: _Optional[int] = ..., cold: _Optional[bool] = ..., cpu_reservation_millis: _Optional[int] = ..., memory_reservation_bytes: _Optional[int] = ..., cpu_shares: _Optional[int] = ..., memory_shares: _Optional[int] = ..., kernel: _Optional[str] = ..., log_syslog: _Optional[str] = ...) -> None: ...

class ConfigureResponse(_message.Message):
    __slots__ = ("limits", "start_mode", "kernel", "log_syslog", "allocation")
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    START_MODE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    LOG_SYSLOG_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    limits: Limits
    start_mode: StartMode
    kernel: str
    log_syslog: str
    allocation: Allocation
    def __init__(self, limits: _Optional[_Union[Limits, _Mapping]] = ..., start_mode: _Optional[_Union[StartMode, _Mapping]] = ..., kernel: _Optional[str] = ..., log_syslog: _Optional[str] = ..., allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...

class MeasureUsageRequest(_message.Message):
    __slots__ = ("over",)
    OVER_FIELD_NUMBER: _ClassVar[int]
    over: _duration_pb2.Duration
    def __init__(self, over: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class MeasureUsageResponse(_message.Message):
    __slots__ = ("containers",)
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    containers: _containers.RepeatedCompositeFieldContainer[ContainerUsage]
    def __init__(self, containers: _Optional[_Iterable[_Union[ContainerUsage, _Mapping]]] = ...) -> None: ...

class ContainerUsage(_message.Message):
    __slots__ = ("container_id", "name", "seconds", "given_memory_bytes", "given_cpus", "cpus_used", "cpus_waited_for", "memory_bytes", "memory_active_bytes", "disk_read_bytes_per_second", "disk_written_bytes_per_second", "received_bytes_per_second", "sent_bytes_per_second")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GIVEN_CPUS_FIELD_NUMBER: _ClassVar[int]
    CPUS_USED_FIELD_NUMBER: _ClassVar[int]
    CPUS_WAITED_FOR_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_ACTIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_READ_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DISK_WRITTEN_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    name: str
    seconds: float
    given_memory_bytes: int
    given_cpus: int
    cpus_used: float
    cpus_waited_for: float
    memory_bytes: int
    memory_active_bytes: int
    disk_read_bytes_per_second: float
    disk_written_bytes_per_second: float
    received_bytes_per_second: float
    sent_bytes_per_second: float
    def __init__(self, container_id: _Optional[str] = ..., name: _Optional[str] = ..., seconds: _Optional[float] = ..., given_memory_bytes: _Optional[int] = ..., given_cpus: _Optional[int] = ..., cpus_used: _Optional[float] = ..., cpus_waited_for: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., memory_active_bytes: _Optional[int] = ..., disk_read_bytes_per_second: _Optional[float] = ..., disk_written_bytes_per_second: _Optional[float] = ..., received_bytes_per_second: _Optional[float] = ..., sent_bytes_per_second: _Optional[float] = ...) -> None: ...

class TryKernelRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class TryKernelResponse(_message.Message):
    __slots__ = ("kernel_release",)
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    kernel_release: str
    def __init__(self, kernel_release: _Optional[str] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("container_id", "spec")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    spec: _container_pb2.ContainerSpec
    def __init__(self, container_id: _Optional[str] = ..., spec: _Optional[_Union[_container_pb2.ContainerSpec, _Mapping]] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("container", "warnings")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("states", "page_token")
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[_container_pb2.ContainerState]
    page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[_container_pb2.ContainerState, str]]] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("containers", "next_page_token")
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    containers: _containers.RepeatedCompositeFieldContainer[_container_pb2.Container]
    next_page_token: str
    def __init__(self, containers: _Optional[_Iterable[_Union[_container_pb2.Container, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("reference", "request_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("reference", "request_id", "timeout", "signal")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    timeout: _duration_pb2.Duration
    signal: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., signal: _Optional[str] = ...) -> None: ...

class StopResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class RestartRequest(_message.Message):
    __slots__ = ("reference", "request_id", "timeout", "signal")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    timeout: _duration_pb2.Duration
    signal: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., signal: _Optional[str] = ...) -> None: ...

class RestartResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class SignalRequest(_message.Message):
    __slots__ = ("reference", "request_id", "signal")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    signal: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., signal: _Optional[str] = ...) -> None: ...

class SignalResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("reference", "request_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnpauseRequest(_message.Message):
    __slots__ = ("reference", "request_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UnpauseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("reference", "request_id", "resources", "restart_policy")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RESTART_POLICY_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    resources: _container_pb2.Resources
    restart_policy: _container_pb2.RestartPolicy
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., resources: _Optional[_Union[_container_pb2.Resources, _Mapping]] = ..., restart_policy: _Optional[_Union[_container_pb2.RestartPolicy, _Mapping]] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("container", "warnings")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class RenameRequest(_message.Message):
    __slots__ = ("reference", "request_id", "new_name")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NEW_NAME_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    new_name: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., new_name: _Optional[str] = ...) -> None: ...

class RenameResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class ConnectNetworkRequest(_message.Message):
    __slots__ = ("reference", "request_id", "attachment")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    attachment: _container_pb2.NetworkAttachment
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., attachment: _Optional[_Union[_container_pb2.NetworkAttachment, _Mapping]] = ...) -> None: ...

class ConnectNetworkResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class DisconnectNetworkRequest(_message.Message):
    __slots__ = ("reference", "request_id", "network")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    network: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., network: _Optional[str] = ...) -> None: ...

class DisconnectNetworkResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: _container_pb2.Container
    def __init__(self, container: _Optional[_Union[_container_pb2.Container, _Mapping]] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("reference", "request_id", "force", "remove_volumes")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_VOLUMES_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    force: bool
    remove_volumes: bool
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., force: _Optional[bool] = ..., remove_volumes: _Optional[bool] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CloseRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CloseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PruneRequest(_message.Message):
    __slots__ = ("until", "label_filters")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FILTERS_FIELD_NUMBER: _ClassVar[int]
    until: _timestamp_pb2.Timestamp
    label_filters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., label_filters: _Optional[_Iterable[str]] = ...) -> None: ...

class PruneResponse(_message.Message):
    __slots__ = ("removed_ids", "reclaimed_bytes")
    REMOVED_IDS_FIELD_NUMBER: _ClassVar[int]
    RECLAIMED_BYTES_FIELD_NUMBER: _ClassVar[int]
    removed_ids: _containers.RepeatedScalarFieldContainer[str]
    reclaimed_bytes: int
    def __init__(self, removed_ids: _Optional[_Iterable[str]] = ..., reclaimed_bytes: _Optional[int] = ...) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("reference", "condition")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    reference: str
    condition: WaitCondition
    def __init__(self, reference: _Optional[str] = ..., condition: _Optional[_Union[WaitCondition, str]] = ...) -> None: ...

class WaitResponse(_message.Message):
    __slots__ = ("waiting", "result")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    waiting: WaitStarted
    result: WaitResult
    def __init__(self, waiting: _Optional[_Union[WaitStarted, _Mapping]] = ..., result: _Optional[_Union[WaitResult, _Mapping]] = ...) -> None: ...

class WaitStarted(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class WaitResult(_message.Message):
    __slots__ = ("exit_code", "error")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    error: str
    def __init__(self, exit_code: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "time", "kind", "container_id", "attributes", "detail")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: EventKind
    container_id: str
    attributes: _containers.ScalarMap[str, str]
    detail: str
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[EventKind, str]] = ..., container_id: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class RecordEventRequest(_message.Message):
    __slots__ = ("reference", "request_id", "kind", "attributes", "detail")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    reference: str
    request_id: str
    kind: EventKind
    attributes: _containers.ScalarMap[str, str]
    detail: str
    def __init__(self, reference: _Optional[str] = ..., request_id: _Optional[str] = ..., kind: _Optional[_Union[EventKind, str]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class RecordEventResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after_sequence", "since", "until")
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, after_sequence: _Optional[int] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("started", "event")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    started: WatchEventsStarted
    event: Event
    def __init__(self, started: _Optional[_Union[WatchEventsStarted, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class WatchEventsStarted(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class HoldFilesRequest(_message.Message):
    __slots__ = ("container_id", "volumes", "image", "ended_boot_id")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ENDED_BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    volumes: VolumeReach
    image: bool
    ended_boot_id: str
    def __init__(self, container_id: _Optional[str] = ..., volumes: _Optional[_Union[VolumeReach, str]] = ..., image: _Optional[bool] = ..., ended_boot_id: _Optional[str] = ...) -> None: ...

class HoldFilesResponse(_message.Message):
    __slots__ = ("boot_id", "utility", "root_read_only", "image_lun")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    UTILITY_FIELD_NUMBER: _ClassVar[int]
    ROOT_READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    IMAGE_LUN_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    utility: bool
    root_read_only: bool
    image_lun: int
    def __init__(self, boot_id: _Optional[str] = ..., utility: _Optional[bool] = ..., root_read_only: _Optional[bool] = ..., image_lun: _Optional[int] = ...) -> None: ...
