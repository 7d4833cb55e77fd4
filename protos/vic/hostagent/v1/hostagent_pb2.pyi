import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Accelerator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCELERATOR_UNSPECIFIED: _ClassVar[Accelerator]
    ACCELERATOR_KVM: _ClassVar[Accelerator]
    ACCELERATOR_TCG: _ClassVar[Accelerator]

class MachineKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MACHINE_KIND_UNSPECIFIED: _ClassVar[MachineKind]
    MACHINE_KIND_COLD: _ClassVar[MachineKind]
    MACHINE_KIND_PARENT: _ClassVar[MachineKind]
    MACHINE_KIND_CLONE: _ClassVar[MachineKind]
    MACHINE_KIND_READY: _ClassVar[MachineKind]
    MACHINE_KIND_TEMPLATE: _ClassVar[MachineKind]

class TetherState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TETHER_STATE_UNSPECIFIED: _ClassVar[TetherState]
    TETHER_STATE_READY: _ClassVar[TetherState]
    TETHER_STATE_CONFIGURED: _ClassVar[TetherState]
    TETHER_STATE_FAILED: _ClassVar[TetherState]
    TETHER_STATE_WARM: _ClassVar[TetherState]

class ExitCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXIT_CAUSE_UNSPECIFIED: _ClassVar[ExitCause]
    EXIT_CAUSE_ENDED: _ClassVar[ExitCause]
    EXIT_CAUSE_KILLED: _ClassVar[ExitCause]
    EXIT_CAUSE_VIOLATION: _ClassVar[ExitCause]
    EXIT_CAUSE_FOUND_DEAD: _ClassVar[ExitCause]
    EXIT_CAUSE_HOST_RESTARTED: _ClassVar[ExitCause]

class ParentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARENT_STATE_UNSPECIFIED: _ClassVar[ParentState]
    PARENT_STATE_CREATED: _ClassVar[ParentState]
    PARENT_STATE_BOOTING: _ClassVar[ParentState]
    PARENT_STATE_SEALED: _ClassVar[ParentState]
ACCELERATOR_UNSPECIFIED: Accelerator
ACCELERATOR_KVM: Accelerator
ACCELERATOR_TCG: Accelerator
MACHINE_KIND_UNSPECIFIED: MachineKind
MACHINE_KIND_COLD: MachineKind
MACHINE_KIND_PARENT: MachineKind
MACHINE_KIND_CLONE: MachineKind
MACHINE_KIND_READY: MachineKind
MACHINE_KIND_TEMPLATE: MachineKind
TETHER_STATE_UNSPECIFIED: TetherState
TETHER_STATE_READY: TetherState
TETHER_STATE_CONFIGURED: TetherState
TETHER_STATE_FAILED: TetherState
TETHER_STATE_WARM: TetherState
EXIT_CAUSE_UNSPECIFIED: ExitCause
EXIT_CAUSE_ENDED: ExitCause
EXIT_CAUSE_KILLED: ExitCause
EXIT_CAUSE_VIOLATION: ExitCause
EXIT_CAUSE_FOUND_DEAD: ExitCause
EXIT_CAUSE_HOST_RESTARTED: ExitCause
PARENT_STATE_UNSPECIFIED: ParentState
PARENT_STATE_CREATED: ParentState
PARENT_STATE_BOOTING: ParentState
PARENT_STATE_SEALED: ParentState

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("instance_id", "accelerator", "accelerator_reason", "qemu_version", "bootstraps", "host_cpus", "host_memory_bytes", "memory_limit_bytes", "machines", "parents", "warnings", "allocation", "memory_reserved_by_others_bytes", "memory_protected")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_REASON_FIELD_NUMBER: _ClassVar[int]
    QEMU_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAPS_FIELD_NUMBER: _ClassVar[int]
    HOST_CPUS_FIELD_NUMBER: _ClassVar[int]
    HOST_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MACHINES_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVED_BY_OTHERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PROTECTED_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    accelerator: Accelerator
    accelerator_reason: str
    qemu_version: str
    bootstraps: _containers.RepeatedCompositeFieldContainer[Bootstrap]
    host_cpus: int
    host_memory_bytes: int
    memory_limit_bytes: int
    machines: int
    parents: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    allocation: Allocation
    memory_reserved_by_others_bytes: int
    memory_protected: bool
    def __init__(self, instance_id: _Optional[str] = ..., accelerator: _Optional[_Union[Accelerator, str]] = ..., accelerator_reason: _Optional[str] = ..., qemu_version: _Optional[str] = ..., bootstraps: _Optional[_Iterable[_Union[Bootstrap, _Mapping]]] = ..., host_cpus: _Optional[int] = ..., host_memory_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ..., machines: _Optional[int] = ..., parents: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., allocation: _Optional[_Union[Allocation, _Mapping]] = ..., memory_reserved_by_others_bytes: _Optional[int] = ..., memory_protected: _Optional[bool] = ...) -> None: ...

class Allocation(_message.Message):
    __slots__ = ("cpu_reservation_millis", "memory_reservation_bytes", "cpu_shares", "memory_shares")
    CPU_RESERVATION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SHARES_FIELD_NUMBER: _ClassVar[int]
    cpu_reservation_millis: int
    memory_reservation_bytes: int
    cpu_shares: int
    memory_shares: int
    def __init__(self, cpu_reservation_millis: _Optional[int] = ..., memory_reservation_bytes: _Optional[int] = ..., cpu_shares: _Optional[int] = ..., memory_shares: _Optional[int] = ...) -> None: ...

class AllocateRequest(_message.Message):
    __slots__ = ("allocation",)
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    allocation: Allocation
    def __init__(self, allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...

class AllocateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Bootstrap(_message.Message):
    __slots__ = ("digest", "kernel_release", "names", "default")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    digest: str
    kernel_release: str
    names: _containers.RepeatedScalarFieldContainer[str]
    default: bool
    def __init__(self, digest: _Optional[str] = ..., kernel_release: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., default: _Optional[bool] = ...) -> None: ...

class Shape(_message.Message):
    __slots__ = ("memory_mib", "vcpus", "bootstrap_digest", "disk_size_bytes")
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    VCPUS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DISK_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    memory_mib: int
    vcpus: int
    bootstrap_digest: str
    disk_size_bytes: int
    def __init__(self, memory_mib: _Optional[int] = ..., vcpus: _Optional[int] = ..., bootstrap_digest: _Optional[str] = ..., disk_size_bytes: _Optional[int] = ...) -> None: ...

class Machine(_message.Message):
    __slots__ = ("machine_id", "launch_id", "kind", "shape", "parent_id", "disk_chain", "nics", "guest", "identity", "cpu_weight", "volumes", "management")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DISK_CHAIN_FIELD_NUMBER: _ClassVar[int]
    NICS_FIELD_NUMBER: _ClassVar[int]
    GUEST_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    CPU_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    kind: MachineKind
    shape: Shape
    parent_id: str
    disk_chain: _containers.RepeatedScalarFieldContainer[str]
    nics: _containers.RepeatedCompositeFieldContainer[Nic]
    guest: GuestConfig
    identity: bytes
    cpu_weight: int
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeDisk]
    management: GuestManagement
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., kind: _Optional[_Union[MachineKind, str]] = ..., shape: _Optional[_Union[Shape, _Mapping]] = ..., parent_id: _Optional[str] = ..., disk_chain: _Optional[_Iterable[str]] = ..., nics: _Optional[_Iterable[_Union[Nic, _Mapping]]] = ..., guest: _Optional[_Union[GuestConfig, _Mapping]] = ..., identity: _Optional[bytes] = ..., cpu_weight: _Optional[int] = ..., volumes: _Optional[_Iterable[_Union[VolumeDisk, _Mapping]]] = ..., management: _Optional[_Union[GuestManagement, _Mapping]] = ...) -> None: ...

class VolumeDisk(_message.Message):
    __slots__ = ("path", "read_only", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    read_only: bool
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., read_only: _Optional[bool] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Nic(_message.Message):
    __slots__ = ("tap_name", "mac_address")
    TAP_NAME_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    tap_name: str
    mac_address: str
    def __init__(self, tap_name: _Optional[str] = ..., mac_address: _Optional[str] = ...) -> None: ...

class GuestConfig(_message.Message):
    __slots__ = ("hostname", "domainname", "guest_machine_id", "management", "nics", "dns", "hosts", "root_readonly", "shm_bytes", "mounts", "root_device")
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    DOMAINNAME_FIELD_NUMBER: _ClassVar[int]
    GUEST_MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_FIELD_NUMBER: _ClassVar[int]
    NICS_FIELD_NUMBER: _ClassVar[int]
    DNS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    ROOT_READONLY_FIELD_NUMBER: _ClassVar[int]
    SHM_BYTES_FIELD_NUMBER: _ClassVar[int]
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    ROOT_DEVICE_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    domainname: str
    guest_machine_id: str
    management: GuestManagement
    nics: _containers.RepeatedCompositeFieldContainer[GuestNic]
    dns: GuestDns
    hosts: _containers.RepeatedCompositeFieldContainer[GuestHost]
    root_readonly: bool
    shm_bytes: int
    mounts: _containers.RepeatedCompositeFieldContainer[GuestMount]
    root_device: str
    def __init__(self, hostname: _Optional[str] = ..., domainname: _Optional[str] = ..., guest_machine_id: _Optional[str] = ..., management: _Optional[_Union[GuestManagement, _Mapping]] = ..., nics: _Optional[_Iterable[_Union[GuestNic, _Mapping]]] = ..., dns: _Optional[_Union[GuestDns, _Mapping]] = ..., hosts: _Optional[_Iterable[_Union[GuestHost, _Mapping]]] = ..., root_readonly: _Optional[bool] = ..., shm_bytes: _Optional[int] = ..., mounts: _Optional[_Iterable[_Union[GuestMount, _Mapping]]] = ..., root_device: _Optional[str] = ...) -> None: ...

class GuestMount(_message.Message):
    __slots__ = ("target", "read_only", "volume", "tmpfs")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    TMPFS_FIELD_NUMBER: _ClassVar[int]
    target: str
    read_only: bool
    volume: GuestVolume
    tmpfs: GuestTmpfs
    def __init__(self, target: _Optional[str] = ..., read_only: _Optional[bool] = ..., volume: _Optional[_Union[GuestVolume, _Mapping]] = ..., tmpfs: _Optional[_Union[GuestTmpfs, _Mapping]] = ...) -> None: ...

class GuestVolume(_message.Message):
    __slots__ = ("disk", "copy_up", "subpath")
    DISK_FIELD_NUMBER: _ClassVar[int]
    COPY_UP_FIELD_NUMBER: _ClassVar[int]
    SUBPATH_FIELD_NUMBER: _ClassVar[int]
    disk: int
    copy_up: bool
    subpath: str
    def __init__(self, disk: _Optional[int] = ..., copy_up: _Optional[bool] = ..., subpath: _Optional[str] = ...) -> None: ...

class GuestTmpfs(_message.Message):
    __slots__ = ("flags", "data")
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    flags: _containers.RepeatedScalarFieldContainer[str]
    data: str
    def __init__(self, flags: _Optional[_Iterable[str]] = ..., data: _Optional[str] = ...) -> None: ...

class GuestManagement(_message.Message):
    __slots__ = ("mac_address", "address", "endpoint", "server_name")
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    mac_address: str
    address: str
    endpoint: str
    server_name: str
    def __init__(self, mac_address: _Optional[str] = ..., address: _Optional[str] = ..., endpoint: _Optional[str] = ..., server_name: _Optional[str] = ...) -> None: ...

class GuestNic(_message.Message):
    __slots__ = ("index", "mac_address", "addresses", "gateway", "mtu", "name", "ipv6_gateway")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IPV6_GATEWAY_FIELD_NUMBER: _ClassVar[int]
    index: int
    mac_address: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    gateway: str
    mtu: int
    name: str
    ipv6_gateway: str
    def __init__(self, index: _Optional[int] = ..., mac_address: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., gateway: _Optional[str] = ..., mtu: _Optional[int] = ..., name: _Optional[str] = ..., ipv6_gateway: _Optional[str] = ...) -> None: ...

class GuestDns(_message.Message):
    __slots__ = ("servers", "search", "options")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedScalarFieldContainer[str]
    search: _containers.RepeatedScalarFieldContainer[str]
    options: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, servers: _Optional[_Iterable[str]] = ..., search: _Optional[_Iterable[str]] = ..., options: _Optional[_Iterable[str]] = ...) -> None: ...

class GuestHost(_message.Message):
    __slots__ = ("address", "name")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    address: str
    name: str
    def __init__(self, address: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GetShapeRequest(_message.Message):
    __slots__ = ("shape",)
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    shape: Shape
    def __init__(self, shape: _Optional[_Union[Shape, _Mapping]] = ...) -> None: ...

class GetShapeResponse(_message.Message):
    __slots__ = ("shape_key",)
    SHAPE_KEY_FIELD_NUMBER: _ClassVar[int]
    shape_key: str
    def __init__(self, shape_key: _Optional[str] = ...) -> None: ...

class LaunchRequest(_message.Message):
    __slots__ = ("machine", "ready_id", "template_id")
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    READY_ID_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_ID_FIELD_NUMBER: _ClassVar[int]
    machine: Machine
    ready_id: str
    template_id: str
    def __init__(self, machine: _Optional[_Union[Machine, _Mapping]] = ..., ready_id: _Optional[str] = ..., template_id: _Optional[str] = ...) -> None: ...

class LaunchResponse(_message.Message):
    __slots__ = ("machine",)
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    machine: RunningMachine
    def __init__(self, machine: _Optional[_Union[RunningMachine, _Mapping]] = ...) -> None: ...

class RunningMachine(_message.Message):
    __slots__ = ("machine_id", "launch_id", "kind", "shape", "shape_key", "parent_id", "pid", "uid", "qmp_path", "incoming_uri", "launched_at", "identity", "accelerator", "nics", "tether")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_KEY_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    QMP_PATH_FIELD_NUMBER: _ClassVar[int]
    INCOMING_URI_FIELD_NUMBER: _ClassVar[int]
    LAUNCHED_AT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    NICS_FIELD_NUMBER: _ClassVar[int]
    TETHER_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    kind: MachineKind
    shape: Shape
    shape_key: str
    parent_id: str
    pid: int
    uid: int
    qmp_path: str
    incoming_uri: str
    launched_at: _timestamp_pb2.Timestamp
    identity: bytes
    accelerator: Accelerator
    nics: _containers.RepeatedCompositeFieldContainer[Nic]
    tether: TetherReport
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., kind: _Optional[_Union[MachineKind, str]] = ..., shape: _Optional[_Union[Shape, _Mapping]] = ..., shape_key: _Optional[str] = ..., parent_id: _Optional[str] = ..., pid: _Optional[int] = ..., uid: _Optional[int] = ..., qmp_path: _Optional[str] = ..., incoming_uri: _Optional[str] = ..., launched_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., identity: _Optional[bytes] = ..., accelerator: _Optional[_Union[Accelerator, str]] = ..., nics: _Optional[_Iterable[_Union[Nic, _Mapping]]] = ..., tether: _Optional[_Union[TetherReport, _Mapping]] = ...) -> None: ...

class TetherReport(_message.Message):
    __slots__ = ("state", "error")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    state: TetherState
    error: str
    def __init__(self, state: _Optional[_Union[TetherState, str]] = ..., error: _Optional[str] = ...) -> None: ...

class KillRequest(_message.Message):
    __slots__ = ("machine_id", "launch_id", "without_waiting")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_WAITING_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    without_waiting: bool
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., without_waiting: _Optional[bool] = ...) -> None: ...

class KillResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReweighRequest(_message.Message):
    __slots__ = ("machine_id", "launch_id", "cpu_weight")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    CPU_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    cpu_weight: int
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., cpu_weight: _Optional[int] = ...) -> None: ...

class ReweighResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PlugNicRequest(_message.Message):
    __slots__ = ("machine_id", "launch_id", "nic")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    NIC_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    nic: Nic
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., nic: _Optional[_Union[Nic, _Mapping]] = ...) -> None: ...

class PlugNicResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnplugNicRequest(_message.Message):
    __slots__ = ("machine_id", "launch_id", "tap_name")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    TAP_NAME_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    tap_name: str
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., tap_name: _Optional[str] = ...) -> None: ...

class UnplugNicResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetClockRequest(_message.Message):
    __slots__ = ("machine_id", "launch_id")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ...) -> None: ...

class SetClockResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SurroundRequest(_message.Message):
    __slots__ = ("machine_id", "launch_id", "nics", "dns", "hosts", "wait_milliseconds")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    NICS_FIELD_NUMBER: _ClassVar[int]
    DNS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    nics: _containers.RepeatedCompositeFieldContainer[GuestNic]
    dns: GuestDns
    hosts: _containers.RepeatedCompositeFieldContainer[GuestHost]
    wait_milliseconds: int
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., nics: _Optional[_Iterable[_Union[GuestNic, _Mapping]]] = ..., dns: _Optional[_Union[GuestDns, _Mapping]] = ..., hosts: _Optional[_Iterable[_Union[GuestHost, _Mapping]]] = ..., wait_milliseconds: _Optional[int] = ...) -> None: ...

class SurroundResponse(_message.Message):
    __slots__ = ("done",)
    DONE_FIELD_NUMBER: _ClassVar[int]
    done: bool
    def __init__(self, done: _Optional[bool] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("machine_id",)
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    def __init__(self, machine_id: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("machine",)
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    machine: RunningMachine
    def __init__(self, machine: _Optional[_Union[RunningMachine, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("machines",)
    MACHINES_FIELD_NUMBER: _ClassVar[int]
    machines: _containers.RepeatedCompositeFieldContainer[RunningMachine]
    def __init__(self, machines: _Optional[_Iterable[_Union[RunningMachine, _Mapping]]] = ...) -> None: ...

class ReadCountersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadCountersResponse(_message.Message):
    __slots__ = ("machines",)
    MACHINES_FIELD_NUMBER: _ClassVar[int]
    machines: _containers.RepeatedCompositeFieldContainer[MachineCounters]
    def __init__(self, machines: _Optional[_Iterable[_Union[MachineCounters, _Mapping]]] = ...) -> None: ...

class MachineCounters(_message.Message):
    __slots__ = ("machine_id", "launch_id", "read_nanoseconds", "cpu_nanoseconds", "cpu_wait_nanoseconds", "memory_bytes", "received_bytes", "sent_bytes")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    READ_NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    CPU_NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    CPU_WAIT_NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    launch_id: str
    read_nanoseconds: int
    cpu_nanoseconds: int
    cpu_wait_nanoseconds: int
    memory_bytes: int
    received_bytes: int
    sent_bytes: int
    def __init__(self, machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., read_nanoseconds: _Optional[int] = ..., cpu_nanoseconds: _Optional[int] = ..., cpu_wait_nanoseconds: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., sent_bytes: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("after_sequence",)
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    def __init__(self, after_sequence: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("started", "event")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    started: WatchStarted
    event: Event
    def __init__(self, started: _Optional[_Union[WatchStarted, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class WatchStarted(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "time", "machine_id", "launch_id", "launched", "exited", "reported")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_ID_FIELD_NUMBER: _ClassVar[int]
    LAUNCHED_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    machine_id: str
    launch_id: str
    launched: MachineLaunched
    exited: MachineExited
    reported: TetherReport
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., machine_id: _Optional[str] = ..., launch_id: _Optional[str] = ..., launched: _Optional[_Union[MachineLaunched, _Mapping]] = ..., exited: _Optional[_Union[MachineExited, _Mapping]] = ..., reported: _Optional[_Union[TetherReport, _Mapping]] = ...) -> None: ...

class MachineLaunched(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class MachineExited(_message.Message):
    __slots__ = ("cause", "exit_code", "signal", "exit_record", "console_tail")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    EXIT_RECORD_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_TAIL_FIELD_NUMBER: _ClassVar[int]
    cause: ExitCause
    exit_code: int
    signal: int
    exit_record: bytes
    console_tail: bytes
    def __init__(self, cause: _Optional[_Union[ExitCause, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., exit_record: _Optional[bytes] = ..., console_tail: _Optional[bytes] = ...) -> None: ...

class AcknowledgeRequest(_message.Message):
    __slots__ = ("through_sequence",)
    THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    through_sequence: int
    def __init__(self, through_sequence: _Optional[int] = ...) -> None: ...

class AcknowledgeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConsoleRequest(_message.Message):
    __slots__ = ("machine_id", "max_bytes")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    max_bytes: int
    def __init__(self, machine_id: _Optional[str] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class GetConsoleResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class Parent(_message.Message):
    __slots__ = ("parent_id", "shape", "shape_key", "state", "created_at", "current")
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    parent_id: str
    shape: Shape
    shape_key: str
    state: ParentState
    created_at: _timestamp_pb2.Timestamp
    current: bool
    def __init__(self, parent_id: _Optional[str] = ..., shape: _Optional[_Union[Shape, _Mapping]] = ..., shape_key: _Optional[str] = ..., state: _Optional[_Union[ParentState, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., current: _Optional[bool] = ...) -> None: ...

class CreateParentRequest(_message.Message):
    __slots__ = ("parent_id", "shape")
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    parent_id: str
    shape: Shape
    def __init__(self, parent_id: _Optional[str] = ..., shape: _Optional[_Union[Shape, _Mapping]] = ...) -> None: ...

class CreateParentResponse(_message.Message):
    __slots__ = ("parent",)
    PARENT_FIELD_NUMBER: _ClassVar[int]
    parent: Parent
    def __init__(self, parent: _Optional[_Union[Parent, _Mapping]] = ...) -> None: ...

class SealParentRequest(_message.Message):
    __slots__ = ("parent_id", "device_state")
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_STATE_FIELD_NUMBER: _ClassVar[int]
    parent_id: str
    device_state: bytes
    def __init__(self, parent_id: _Optional[str] = ..., device_state: _Optional[bytes] = ...) -> None: ...

class SealParentResponse(_message.Message):
    __slots__ = ("parent",)
    PARENT_FIELD_NUMBER: _ClassVar[int]
    parent: Parent
    def __init__(self, parent: _Optional[_Union[Parent, _Mapping]] = ...) -> None: ...

class RemoveParentRequest(_message.Message):
    __slots__ = ("parent_id",)
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    parent_id: str
    def __init__(self, parent_id: _Optional[str] = ...) -> None: ...

class RemoveParentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListParentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListParentsResponse(_message.Message):
    __slots__ = ("parents",)
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedCompositeFieldContainer[Parent]
    def __init__(self, parents: _Optional[_Iterable[_Union[Parent, _Mapping]]] = ...) -> None: ...

class IssueRequest(_message.Message):
    __slots__ = ("container_id", "boot_id", "guest", "volumes")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    GUEST_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    boot_id: str
    guest: GuestConfig
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeDisk]
    def __init__(self, container_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., guest: _Optional[_Union[GuestConfig, _Mapping]] = ..., volumes: _Optional[_Iterable[_Union[VolumeDisk, _Mapping]]] = ...) -> None: ...

class IssueResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: bytes
    def __init__(self, frame: _Optional[bytes] = ...) -> None: ...
