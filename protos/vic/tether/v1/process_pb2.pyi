from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StdStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STD_STREAM_UNSPECIFIED: _ClassVar[StdStream]
    STD_STREAM_STDOUT: _ClassVar[StdStream]
    STD_STREAM_STDERR: _ClassVar[StdStream]
STD_STREAM_UNSPECIFIED: StdStream
STD_STREAM_STDOUT: StdStream
STD_STREAM_STDERR: StdStream

class ProcessSpec(_message.Message):
    __slots__ = ("args", "env", "cwd", "user", "additional_groups", "tty", "window", "stdin", "capabilities", "no_new_privileges", "rlimits", "oom_score_adj", "seccomp_filter", "files")
    ARGS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_GROUPS_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    NO_NEW_PRIVILEGES_FIELD_NUMBER: _ClassVar[int]
    RLIMITS_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_FILTER_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    args: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.RepeatedScalarFieldContainer[str]
    cwd: str
    user: str
    additional_groups: _containers.RepeatedScalarFieldContainer[str]
    tty: bool
    window: WindowSize
    stdin: bool
    capabilities: Capabilities
    no_new_privileges: bool
    rlimits: _containers.RepeatedCompositeFieldContainer[Rlimit]
    oom_score_adj: int
    seccomp_filter: bytes
    files: FileTask
    def __init__(self, args: _Optional[_Iterable[str]] = ..., env: _Optional[_Iterable[str]] = ..., cwd: _Optional[str] = ..., user: _Optional[str] = ..., additional_groups: _Optional[_Iterable[str]] = ..., tty: _Optional[bool] = ..., window: _Optional[_Union[WindowSize, _Mapping]] = ..., stdin: _Optional[bool] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., no_new_privileges: _Optional[bool] = ..., rlimits: _Optional[_Iterable[_Union[Rlimit, _Mapping]]] = ..., oom_score_adj: _Optional[int] = ..., seccomp_filter: _Optional[bytes] = ..., files: _Optional[_Union[FileTask, _Mapping]] = ...) -> None: ...

class FileTask(_message.Message):
    __slots__ = ("stat", "read", "write", "changes", "layer")
    STAT_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    stat: FileStat
    read: FileRead
    write: FileWrite
    changes: FileChanges
    layer: FileLayer
    def __init__(self, stat: _Optional[_Union[FileStat, _Mapping]] = ..., read: _Optional[_Union[FileRead, _Mapping]] = ..., write: _Optional[_Union[FileWrite, _Mapping]] = ..., changes: _Optional[_Union[FileChanges, _Mapping]] = ..., layer: _Optional[_Union[FileLayer, _Mapping]] = ...) -> None: ...

class FileStat(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class FileRead(_message.Message):
    __slots__ = ("path", "export")
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    path: str
    export: bool
    def __init__(self, path: _Optional[str] = ..., export: _Optional[bool] = ...) -> None: ...

class FileWrite(_message.Message):
    __slots__ = ("path", "no_overwrite_dir_non_dir", "owner", "root_read_only", "sync")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NO_OVERWRITE_DIR_NON_DIR_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ROOT_READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    path: str
    no_overwrite_dir_non_dir: bool
    owner: str
    root_read_only: bool
    sync: bool
    def __init__(self, path: _Optional[str] = ..., no_overwrite_dir_non_dir: _Optional[bool] = ..., owner: _Optional[str] = ..., root_read_only: _Optional[bool] = ..., sync: _Optional[bool] = ...) -> None: ...

class FileChanges(_message.Message):
    __slots__ = ("image_lun",)
    IMAGE_LUN_FIELD_NUMBER: _ClassVar[int]
    image_lun: int
    def __init__(self, image_lun: _Optional[int] = ...) -> None: ...

class FileLayer(_message.Message):
    __slots__ = ("image_lun", "freeze")
    IMAGE_LUN_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    image_lun: int
    freeze: bool
    def __init__(self, image_lun: _Optional[int] = ..., freeze: _Optional[bool] = ...) -> None: ...

class WindowSize(_message.Message):
    __slots__ = ("rows", "columns")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("add", "drop", "privileged")
    ADD_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    PRIVILEGED_FIELD_NUMBER: _ClassVar[int]
    add: _containers.RepeatedScalarFieldContainer[str]
    drop: _containers.RepeatedScalarFieldContainer[str]
    privileged: bool
    def __init__(self, add: _Optional[_Iterable[str]] = ..., drop: _Optional[_Iterable[str]] = ..., privileged: _Optional[bool] = ...) -> None: ...

class Rlimit(_message.Message):
    __slots__ = ("name", "soft", "hard")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    name: str
    soft: int
    hard: int
    def __init__(self, name: _Optional[str] = ..., soft: _Optional[int] = ..., hard: _Optional[int] = ...) -> None: ...

class SandboxOptions(_message.Message):
    __slots__ = ("init", "sysctls", "devices", "device_rules", "masked_paths", "readonly_paths", "no_shm")
    class SysctlsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INIT_FIELD_NUMBER: _ClassVar[int]
    SYSCTLS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_RULES_FIELD_NUMBER: _ClassVar[int]
    MASKED_PATHS_FIELD_NUMBER: _ClassVar[int]
    READONLY_PATHS_FIELD_NUMBER: _ClassVar[int]
    NO_SHM_FIELD_NUMBER: _ClassVar[int]
    init: bool
    sysctls: _containers.ScalarMap[str, str]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    device_rules: _containers.RepeatedScalarFieldContainer[str]
    masked_paths: Paths
    readonly_paths: Paths
    no_shm: bool
    def __init__(self, init: _Optional[bool] = ..., sysctls: _Optional[_Mapping[str, str]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., device_rules: _Optional[_Iterable[str]] = ..., masked_paths: _Optional[_Union[Paths, _Mapping]] = ..., readonly_paths: _Optional[_Union[Paths, _Mapping]] = ..., no_shm: _Optional[bool] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("path", "container_path", "permissions")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_PATH_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    path: str
    container_path: str
    permissions: str
    def __init__(self, path: _Optional[str] = ..., container_path: _Optional[str] = ..., permissions: _Optional[str] = ...) -> None: ...

class Paths(_message.Message):
    __slots__ = ("paths",)
    PATHS_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, paths: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkloadLimits(_message.Message):
    __slots__ = ("memory_bytes", "memory_swap_bytes", "nano_cpus", "pids", "memory_reservation_bytes", "cpu_weight", "cpu_quota_us", "cpu_period_us", "cpuset_cpus", "cpuset_mems", "swappiness", "blocks")
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    NANO_CPUS_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CPU_QUOTA_US_FIELD_NUMBER: _ClassVar[int]
    CPU_PERIOD_US_FIELD_NUMBER: _ClassVar[int]
    CPUSET_CPUS_FIELD_NUMBER: _ClassVar[int]
    CPUSET_MEMS_FIELD_NUMBER: _ClassVar[int]
    SWAPPINESS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    memory_bytes: int
    memory_swap_bytes: int
    nano_cpus: int
    pids: int
    memory_reservation_bytes: int
    cpu_weight: int
    cpu_quota_us: int
    cpu_period_us: int
    cpuset_cpus: str
    cpuset_mems: str
    swappiness: int
    blocks: _containers.RepeatedCompositeFieldContainer[BlockLimit]
    def __init__(self, memory_bytes: _Optional[int] = ..., memory_swap_bytes: _Optional[int] = ..., nano_cpus: _Optional[int] = ..., pids: _Optional[int] = ..., memory_reservation_bytes: _Optional[int] = ..., cpu_weight: _Optional[int] = ..., cpu_quota_us: _Optional[int] = ..., cpu_period_us: _Optional[int] = ..., cpuset_cpus: _Optional[str] = ..., cpuset_mems: _Optional[str] = ..., swappiness: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[BlockLimit, _Mapping]]] = ...) -> None: ...

class BlockLimit(_message.Message):
    __slots__ = ("device", "read_bytes_per_second", "write_bytes_per_second", "read_operations_per_second", "write_operations_per_second")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    READ_OPERATIONS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_OPERATIONS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    device: str
    read_bytes_per_second: int
    write_bytes_per_second: int
    read_operations_per_second: int
    write_operations_per_second: int
    def __init__(self, device: _Optional[str] = ..., read_bytes_per_second: _Optional[int] = ..., write_bytes_per_second: _Optional[int] = ..., read_operations_per_second: _Optional[int] = ..., write_operations_per_second: _Optional[int] = ...) -> None: ...
