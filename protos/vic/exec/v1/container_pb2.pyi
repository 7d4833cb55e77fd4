import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vic.tether.v1 import health_pb2 as _health_pb2
from vic.tether.v1 import process_pb2 as _process_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RestartCondition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESTART_CONDITION_UNSPECIFIED: _ClassVar[RestartCondition]
    RESTART_CONDITION_NO: _ClassVar[RestartCondition]
    RESTART_CONDITION_ON_FAILURE: _ClassVar[RestartCondition]
    RESTART_CONDITION_ALWAYS: _ClassVar[RestartCondition]
    RESTART_CONDITION_UNLESS_STOPPED: _ClassVar[RestartCondition]

class LogDriver(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_DRIVER_UNSPECIFIED: _ClassVar[LogDriver]
    LOG_DRIVER_JSON_FILE: _ClassVar[LogDriver]
    LOG_DRIVER_LOCAL: _ClassVar[LogDriver]
    LOG_DRIVER_NONE: _ClassVar[LogDriver]
    LOG_DRIVER_SYSLOG: _ClassVar[LogDriver]

class SyslogFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SYSLOG_FORMAT_UNSPECIFIED: _ClassVar[SyslogFormat]
    SYSLOG_FORMAT_RFC5424: _ClassVar[SyslogFormat]
    SYSLOG_FORMAT_RFC5424_MICRO: _ClassVar[SyslogFormat]
    SYSLOG_FORMAT_RFC3164: _ClassVar[SyslogFormat]

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_TCP: _ClassVar[Protocol]
    PROTOCOL_UDP: _ClassVar[Protocol]

class MountKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MOUNT_KIND_UNSPECIFIED: _ClassVar[MountKind]
    MOUNT_KIND_VOLUME: _ClassVar[MountKind]
    MOUNT_KIND_TMPFS: _ClassVar[MountKind]

class MountForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MOUNT_FORM_UNSPECIFIED: _ClassVar[MountForm]
    MOUNT_FORM_SHORT: _ClassVar[MountForm]
    MOUNT_FORM_DECLARED: _ClassVar[MountForm]
    MOUNT_FORM_BORROWED: _ClassVar[MountForm]

class ContainerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTAINER_STATE_UNSPECIFIED: _ClassVar[ContainerState]
    CONTAINER_STATE_CREATED: _ClassVar[ContainerState]
    CONTAINER_STATE_STARTING: _ClassVar[ContainerState]
    CONTAINER_STATE_RUNNING: _ClassVar[ContainerState]
    CONTAINER_STATE_PAUSED: _ClassVar[ContainerState]
    CONTAINER_STATE_STOPPING: _ClassVar[ContainerState]
    CONTAINER_STATE_EXITED: _ClassVar[ContainerState]
    CONTAINER_STATE_REMOVING: _ClassVar[ContainerState]
    CONTAINER_STATE_DEAD: _ClassVar[ContainerState]
    CONTAINER_STATE_RESTARTING: _ClassVar[ContainerState]

class StartKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    START_KIND_UNSPECIFIED: _ClassVar[StartKind]
    START_KIND_COLD_BOOT: _ClassVar[StartKind]
    START_KIND_INSTANT_CLONE: _ClassVar[StartKind]
    START_KIND_READY_CLONE: _ClassVar[StartKind]
RESTART_CONDITION_UNSPECIFIED: RestartCondition
RESTART_CONDITION_NO: RestartCondition
RESTART_CONDITION_ON_FAILURE: RestartCondition
RESTART_CONDITION_ALWAYS: RestartCondition
RESTART_CONDITION_UNLESS_STOPPED: RestartCondition
LOG_DRIVER_UNSPECIFIED: LogDriver
LOG_DRIVER_JSON_FILE: LogDriver
LOG_DRIVER_LOCAL: LogDriver
LOG_DRIVER_NONE: LogDriver
LOG_DRIVER_SYSLOG: LogDriver
SYSLOG_FORMAT_UNSPECIFIED: SyslogFormat
SYSLOG_FORMAT_RFC5424: SyslogFormat
SYSLOG_FORMAT_RFC5424_MICRO: SyslogFormat
SYSLOG_FORMAT_RFC3164: SyslogFormat
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_TCP: Protocol
PROTOCOL_UDP: Protocol
MOUNT_KIND_UNSPECIFIED: MountKind
MOUNT_KIND_VOLUME: MountKind
MOUNT_KIND_TMPFS: MountKind
MOUNT_FORM_UNSPECIFIED: MountForm
MOUNT_FORM_SHORT: MountForm
MOUNT_FORM_DECLARED: MountForm
MOUNT_FORM_BORROWED: MountForm
CONTAINER_STATE_UNSPECIFIED: ContainerState
CONTAINER_STATE_CREATED: ContainerState
CONTAINER_STATE_STARTING: ContainerState
CONTAINER_STATE_RUNNING: ContainerState
CONTAINER_STATE_PAUSED: ContainerState
CONTAINER_STATE_STOPPING: ContainerState
CONTAINER_STATE_EXITED: ContainerState
CONTAINER_STATE_REMOVING: ContainerState
CONTAINER_STATE_DEAD: ContainerState
CONTAINER_STATE_RESTARTING: ContainerState
START_KIND_UNSPECIFIED: StartKind
START_KIND_COLD_BOOT: StartKind
START_KIND_INSTANT_CLONE: StartKind
START_KIND_READY_CLONE: StartKind

class ContainerSpec(_message.Message):
    __slots__ = ("version", "image", "image_id", "name", "entrypoint", "entrypoint_set", "command", "process", "hostname", "domainname", "labels", "stop_signal", "stop_timeout", "resources", "restart_policy", "auto_remove", "log", "network_mode", "networks", "exposed_ports", "port_bindings", "mounts", "volumes", "dns", "extra_hosts", "stdio", "read_only_root", "kernel", "health_check", "platform", "publish_all_ports", "shm_bytes", "sandbox", "seccomp_profile", "as_asked", "annotations", "volumes_from", "volume_driver", "asked_ports", "none_left")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_SET_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    DOMAINNAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    STOP_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RESTART_POLICY_FIELD_NUMBER: _ClassVar[int]
    AUTO_REMOVE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    NETWORK_MODE_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    PORT_BINDINGS_FIELD_NUMBER: _ClassVar[int]
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    DNS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_HOSTS_FIELD_NUMBER: _ClassVar[int]
    STDIO_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_ROOT_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_ALL_PORTS_FIELD_NUMBER: _ClassVar[int]
    SHM_BYTES_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_PROFILE_FIELD_NUMBER: _ClassVar[int]
    AS_ASKED_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FROM_FIELD_NUMBER: _ClassVar[int]
    VOLUME_DRIVER_FIELD_NUMBER: _ClassVar[int]
    ASKED_PORTS_FIELD_NUMBER: _ClassVar[int]
    NONE_LEFT_FIELD_NUMBER: _ClassVar[int]
    version: int
    image: str
    image_id: str
    name: str
    entrypoint: _containers.RepeatedScalarFieldContainer[str]
    entrypoint_set: bool
    command: _containers.RepeatedScalarFieldContainer[str]
    process: _process_pb2.ProcessSpec
    hostname: str
    domainname: str
    labels: _containers.ScalarMap[str, str]
    stop_signal: str
    stop_timeout: _duration_pb2.Duration
    resources: Resources
    restart_policy: RestartPolicy
    auto_remove: bool
    log: LogOptions
    network_mode: str
    networks: _containers.RepeatedCompositeFieldContainer[NetworkAttachment]
    exposed_ports: _containers.RepeatedScalarFieldContainer[str]
    port_bindings: _containers.RepeatedCompositeFieldContainer[PortBinding]
    mounts: _containers.RepeatedCompositeFieldContainer[Mount]
    volumes: _containers.RepeatedScalarFieldContainer[str]
    dns: DnsOptions
    extra_hosts: _containers.RepeatedScalarFieldContainer[str]
    stdio: StdioOptions
    read_only_root: bool
    kernel: str
    health_check: HealthCheck
    platform: str
    publish_all_ports: bool
    shm_bytes: int
    sandbox: _process_pb2.SandboxOptions
    seccomp_profile: str
    as_asked: AsAsked
    annotations: _containers.ScalarMap[str, str]
    volumes_from: _containers.RepeatedScalarFieldContainer[str]
    volume_driver: str
    asked_ports: _containers.RepeatedScalarFieldContainer[str]
    none_left: bool
    def __init__(self, version: _Optional[int] = ..., image: _Optional[str] = ..., image_id: _Optional[str] = ..., name: _Optional[str] = ..., entrypoint: _Optional[_Iterable[str]] = ..., entrypoint_set: _Optional[bool] = ..., command: _Optional[_Iterable[str]] = ..., process: _Optional[_Union[_process_pb2.ProcessSpec, _Mapping]] = ..., hostname: _Optional[str] = ..., domainname: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., stop_signal: _Optional[str] = ..., stop_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., restart_policy: _Optional[_Union[RestartPolicy, _Mapping]] = ..., auto_remove: _Optional[bool] = ..., log: _Optional[_Union[LogOptions, _Mapping]] = ..., network_mode: _Optional[str] = ..., networks: _Optional[_Iterable[_Union[NetworkAttachment, _Mapping]]] = ..., exposed_ports: _Optional[_Iterable[str]] = ..., port_bindings: _Optional[_Iterable[_Union[PortBinding, _Mapping]]] = ..., mounts: _Optional[_Iterable[_Union[Mount, _Mapping]]] = ..., volumes: _Optional[_Iterable[str]] = ..., dns: _Optional[_Union[DnsOptions, _Mapping]] = ..., extra_hosts: _Optional[_Iterable[str]] = ..., stdio: _Optional[_Union[StdioOptions, _Mapping]] = ..., read_only_root: _Optional[bool] = ..., kernel: _Optional[str] = ..., health_check: _Optional[_Union[HealthCheck, _Mapping]] = ..., platform: _Optional[str] = ..., publish_all_ports: _Optional[bool] = ..., shm_bytes: _Optional[int] = ..., sandbox: _Optional[_Union[_process_pb2.SandboxOptions, _Mapping]] = ..., seccomp_profile: _Optional[str] = ..., as_asked: _Optional[_Union[AsAsked, _Mapping]] = ..., annotations: _Optional[_Mapping[str, str]] = ..., volumes_from: _Optional[_Iterable[str]] = ..., volume_driver: _Optional[str] = ..., asked_ports: _Optional[_Iterable[str]] = ..., none_left: _Optional[bool] = ...) -> None: ...

class AsAsked(_message.Message):
    __slots__ = ("security_options", "ipc_mode", "userns_mode", "cgroupns_mode", "isolation")
    SECURITY_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    IPC_MODE_FIELD_NUMBER: _ClassVar[int]
    USERNS_MODE_FIELD_NUMBER: _ClassVar[int]
    CGROUPNS_MODE_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    security_options: _containers.RepeatedScalarFieldContainer[str]
    ipc_mode: str
    userns_mode: str
    cgroupns_mode: str
    isolation: str
    def __init__(self, security_options: _Optional[_Iterable[str]] = ..., ipc_mode: _Optional[str] = ..., userns_mode: _Optional[str] = ..., cgroupns_mode: _Optional[str] = ..., isolation: _Optional[str] = ...) -> None: ...

class StdioOptions(_message.Message):
    __slots__ = ("attach_stdin", "attach_stdout", "attach_stderr", "stdin_once")
    ATTACH_STDIN_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDOUT_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDERR_FIELD_NUMBER: _ClassVar[int]
    STDIN_ONCE_FIELD_NUMBER: _ClassVar[int]
    attach_stdin: bool
    attach_stdout: bool
    attach_stderr: bool
    stdin_once: bool
    def __init__(self, attach_stdin: _Optional[bool] = ..., attach_stdout: _Optional[bool] = ..., attach_stderr: _Optional[bool] = ..., stdin_once: _Optional[bool] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("memory_bytes", "memory_swap_bytes", "memory_reservation_bytes", "nano_cpus", "cpu_shares", "cpu_period_us", "cpu_quota_us", "cpuset_cpus", "pids_limit", "oom_kill_disable", "memory_swap_unlimited", "memory_swappiness", "cpuset_mems", "block_limits")
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    NANO_CPUS_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARES_FIELD_NUMBER: _ClassVar[int]
    CPU_PERIOD_US_FIELD_NUMBER: _ClassVar[int]
    CPU_QUOTA_US_FIELD_NUMBER: _ClassVar[int]
    CPUSET_CPUS_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OOM_KILL_DISABLE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAP_UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAPPINESS_FIELD_NUMBER: _ClassVar[int]
    CPUSET_MEMS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_LIMITS_FIELD_NUMBER: _ClassVar[int]
    memory_bytes: int
    memory_swap_bytes: int
    memory_reservation_bytes: int
    nano_cpus: int
    cpu_shares: int
    cpu_period_us: int
    cpu_quota_us: int
    cpuset_cpus: str
    pids_limit: int
    oom_kill_disable: bool
    memory_swap_unlimited: bool
    memory_swappiness: int
    cpuset_mems: str
    block_limits: _containers.RepeatedCompositeFieldContainer[_process_pb2.BlockLimit]
    def __init__(self, memory_bytes: _Optional[int] = ..., memory_swap_bytes: _Optional[int] = ..., memory_reservation_bytes: _Optional[int] = ..., nano_cpus: _Optional[int] = ..., cpu_shares: _Optional[int] = ..., cpu_period_us: _Optional[int] = ..., cpu_quota_us: _Optional[int] = ..., cpuset_cpus: _Optional[str] = ..., pids_limit: _Optional[int] = ..., oom_kill_disable: _Optional[bool] = ..., memory_swap_unlimited: _Optional[bool] = ..., memory_swappiness: _Optional[int] = ..., cpuset_mems: _Optional[str] = ..., block_limits: _Optional[_Iterable[_Union[_process_pb2.BlockLimit, _Mapping]]] = ...) -> None: ...

class RestartPolicy(_message.Message):
    __slots__ = ("condition", "maximum_retries")
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_RETRIES_FIELD_NUMBER: _ClassVar[int]
    condition: RestartCondition
    maximum_retries: int
    def __init__(self, condition: _Optional[_Union[RestartCondition, str]] = ..., maximum_retries: _Optional[int] = ...) -> None: ...

class LogOptions(_message.Message):
    __slots__ = ("driver", "max_size_bytes", "max_files", "syslog")
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_FILES_FIELD_NUMBER: _ClassVar[int]
    SYSLOG_FIELD_NUMBER: _ClassVar[int]
    driver: LogDriver
    max_size_bytes: int
    max_files: int
    syslog: SyslogOptions
    def __init__(self, driver: _Optional[_Union[LogDriver, str]] = ..., max_size_bytes: _Optional[int] = ..., max_files: _Optional[int] = ..., syslog: _Optional[_Union[SyslogOptions, _Mapping]] = ...) -> None: ...

class SyslogOptions(_message.Message):
    __slots__ = ("address", "tag", "facility", "format")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    FACILITY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    address: str
    tag: str
    facility: str
    format: SyslogFormat
    def __init__(self, address: _Optional[str] = ..., tag: _Optional[str] = ..., facility: _Optional[str] = ..., format: _Optional[_Union[SyslogFormat, str]] = ...) -> None: ...

class NetworkAttachment(_message.Message):
    __slots__ = ("network", "aliases", "ipv4_address", "ipv6_address", "mac_address", "links", "gateway_priority")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    IPV4_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV6_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    network: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    ipv4_address: str
    ipv6_address: str
    mac_address: str
    links: _containers.RepeatedScalarFieldContainer[str]
    gateway_priority: int
    def __init__(self, network: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., ipv4_address: _Optional[str] = ..., ipv6_address: _Optional[str] = ..., mac_address: _Optional[str] = ..., links: _Optional[_Iterable[str]] = ..., gateway_priority: _Optional[int] = ...) -> None: ...

class PortBinding(_message.Message):
    __slots__ = ("container_port", "protocol", "host_address", "host_port_start", "host_port_end")
    CONTAINER_PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HOST_PORT_START_FIELD_NUMBER: _ClassVar[int]
    HOST_PORT_END_FIELD_NUMBER: _ClassVar[int]
    container_port: int
    protocol: Protocol
    host_address: str
    host_port_start: int
    host_port_end: int
    def __init__(self, container_port: _Optional[int] = ..., protocol: _Optional[_Union[Protocol, str]] = ..., host_address: _Optional[str] = ..., host_port_start: _Optional[int] = ..., host_port_end: _Optional[int] = ...) -> None: ...

class Mount(_message.Message):
    __slots__ = ("kind", "source", "target", "read_only", "no_copy", "tmpfs_size_bytes", "tmpfs_mode", "driver", "labels", "options", "subpath", "anonymous", "tmpfs_options", "form", "mode")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    NO_COPY_FIELD_NUMBER: _ClassVar[int]
    TMPFS_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TMPFS_MODE_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SUBPATH_FIELD_NUMBER: _ClassVar[int]
    ANONYMOUS_FIELD_NUMBER: _ClassVar[int]
    TMPFS_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    kind: MountKind
    source: str
    target: str
    read_only: bool
    no_copy: bool
    tmpfs_size_bytes: int
    tmpfs_mode: int
    driver: str
    labels: _containers.ScalarMap[str, str]
    options: _containers.ScalarMap[str, str]
    subpath: str
    anonymous: bool
    tmpfs_options: str
    form: MountForm
    mode: str
    def __init__(self, kind: _Optional[_Union[MountKind, str]] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., read_only: _Optional[bool] = ..., no_copy: _Optional[bool] = ..., tmpfs_size_bytes: _Optional[int] = ..., tmpfs_mode: _Optional[int] = ..., driver: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., options: _Optional[_Mapping[str, str]] = ..., subpath: _Optional[str] = ..., anonymous: _Optional[bool] = ..., tmpfs_options: _Optional[str] = ..., form: _Optional[_Union[MountForm, str]] = ..., mode: _Optional[str] = ...) -> None: ...

class DnsOptions(_message.Message):
    __slots__ = ("servers", "search", "options")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedScalarFieldContainer[str]
    search: _containers.RepeatedScalarFieldContainer[str]
    options: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, servers: _Optional[_Iterable[str]] = ..., search: _Optional[_Iterable[str]] = ..., options: _Optional[_Iterable[str]] = ...) -> None: ...

class HealthCheck(_message.Message):
    __slots__ = ("test", "interval", "timeout", "start_period", "start_interval", "retries", "shell")
    TEST_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    START_PERIOD_FIELD_NUMBER: _ClassVar[int]
    START_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    SHELL_FIELD_NUMBER: _ClassVar[int]
    test: _containers.RepeatedScalarFieldContainer[str]
    interval: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    start_period: _duration_pb2.Duration
    start_interval: _duration_pb2.Duration
    retries: int
    shell: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, test: _Optional[_Iterable[str]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., start_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., start_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retries: _Optional[int] = ..., shell: _Optional[_Iterable[str]] = ...) -> None: ...

class ContainerStatus(_message.Message):
    __slots__ = ("state", "pid", "exit_code", "error", "oom_killed", "started_at", "finished_at", "restart_count", "start_kind", "kernel_release", "health")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLED_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    RESTART_COUNT_FIELD_NUMBER: _ClassVar[int]
    START_KIND_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    state: ContainerState
    pid: int
    exit_code: int
    error: str
    oom_killed: bool
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    restart_count: int
    start_kind: StartKind
    kernel_release: str
    health: _health_pb2.Health
    def __init__(self, state: _Optional[_Union[ContainerState, str]] = ..., pid: _Optional[int] = ..., exit_code: _Optional[int] = ..., error: _Optional[str] = ..., oom_killed: _Optional[bool] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restart_count: _Optional[int] = ..., start_kind: _Optional[_Union[StartKind, str]] = ..., kernel_release: _Optional[str] = ..., health: _Optional[_Union[_health_pb2.Health, _Mapping]] = ...) -> None: ...

class ContainerEndpoint(_message.Message):
    __slots__ = ("network_id", "network_name", "endpoint_id", "mac_address", "ipv4_address", "ipv4_prefix_length", "ipv4_gateway", "aliases", "external", "ipv6_address", "ipv6_prefix_length", "ipv6_gateway", "interface_name")
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV4_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV4_PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    IPV4_GATEWAY_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    IPV6_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV6_PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    IPV6_GATEWAY_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_NAME_FIELD_NUMBER: _ClassVar[int]
    network_id: str
    network_name: str
    endpoint_id: str
    mac_address: str
    ipv4_address: str
    ipv4_prefix_length: int
    ipv4_gateway: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    external: bool
    ipv6_address: str
    ipv6_prefix_length: int
    ipv6_gateway: str
    interface_name: str
    def __init__(self, network_id: _Optional[str] = ..., network_name: _Optional[str] = ..., endpoint_id: _Optional[str] = ..., mac_address: _Optional[str] = ..., ipv4_address: _Optional[str] = ..., ipv4_prefix_length: _Optional[int] = ..., ipv4_gateway: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., external: _Optional[bool] = ..., ipv6_address: _Optional[str] = ..., ipv6_prefix_length: _Optional[int] = ..., ipv6_gateway: _Optional[str] = ..., interface_name: _Optional[str] = ...) -> None: ...

class Container(_message.Message):
    __slots__ = ("id", "spec", "status", "created_at", "endpoints", "disk_chain_length", "published_ports")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    DISK_CHAIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_PORTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    spec: ContainerSpec
    status: ContainerStatus
    created_at: _timestamp_pb2.Timestamp
    endpoints: _containers.RepeatedCompositeFieldContainer[ContainerEndpoint]
    disk_chain_length: int
    published_ports: _containers.RepeatedCompositeFieldContainer[PortBinding]
    def __init__(self, id: _Optional[str] = ..., spec: _Optional[_Union[ContainerSpec, _Mapping]] = ..., status: _Optional[_Union[ContainerStatus, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., endpoints: _Optional[_Iterable[_Union[ContainerEndpoint, _Mapping]]] = ..., disk_chain_length: _Optional[int] = ..., published_ports: _Optional[_Iterable[_Union[PortBinding, _Mapping]]] = ...) -> None: ...
