import datetime

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

class SyslogFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SYSLOG_FORMAT_UNSPECIFIED: _ClassVar[SyslogFormat]
    SYSLOG_FORMAT_RFC5424_MICRO: _ClassVar[SyslogFormat]
    SYSLOG_FORMAT_RFC3164: _ClassVar[SyslogFormat]
SYSLOG_FORMAT_UNSPECIFIED: SyslogFormat
SYSLOG_FORMAT_RFC5424_MICRO: SyslogFormat
SYSLOG_FORMAT_RFC3164: SyslogFormat

class RegisterRequest(_message.Message):
    __slots__ = ("container_id", "discard_logs", "log_max_size_bytes", "log_max_files", "tty", "open_stdin", "stdin_once", "syslog")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    DISCARD_LOGS_FIELD_NUMBER: _ClassVar[int]
    LOG_MAX_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_MAX_FILES_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    OPEN_STDIN_FIELD_NUMBER: _ClassVar[int]
    STDIN_ONCE_FIELD_NUMBER: _ClassVar[int]
    SYSLOG_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    discard_logs: bool
    log_max_size_bytes: int
    log_max_files: int
    tty: bool
    open_stdin: bool
    stdin_once: bool
    syslog: SyslogTarget
    def __init__(self, container_id: _Optional[str] = ..., discard_logs: _Optional[bool] = ..., log_max_size_bytes: _Optional[int] = ..., log_max_files: _Optional[int] = ..., tty: _Optional[bool] = ..., open_stdin: _Optional[bool] = ..., stdin_once: _Optional[bool] = ..., syslog: _Optional[_Union[SyslogTarget, _Mapping]] = ...) -> None: ...

class SyslogTarget(_message.Message):
    __slots__ = ("address", "tag", "facility", "format")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    FACILITY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    address: str
    tag: str
    facility: int
    format: SyslogFormat
    def __init__(self, address: _Optional[str] = ..., tag: _Optional[str] = ..., facility: _Optional[int] = ..., format: _Optional[_Union[SyslogFormat, str]] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnregisterRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class UnregisterResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRegisteredRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRegisteredResponse(_message.Message):
    __slots__ = ("container_ids",)
    CONTAINER_IDS_FIELD_NUMBER: _ClassVar[int]
    container_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class LaunchRequest(_message.Message):
    __slots__ = ("container_id", "boot_id", "process_id", "process", "limits", "sandbox", "health", "tether_id")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    TETHER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    boot_id: str
    process_id: str
    process: _process_pb2.ProcessSpec
    limits: _process_pb2.WorkloadLimits
    sandbox: _process_pb2.SandboxOptions
    health: _health_pb2.HealthProbe
    tether_id: str
    def __init__(self, container_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., process_id: _Optional[str] = ..., process: _Optional[_Union[_process_pb2.ProcessSpec, _Mapping]] = ..., limits: _Optional[_Union[_process_pb2.WorkloadLimits, _Mapping]] = ..., sandbox: _Optional[_Union[_process_pb2.SandboxOptions, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.HealthProbe, _Mapping]] = ..., tether_id: _Optional[str] = ...) -> None: ...

class LaunchResponse(_message.Message):
    __slots__ = ("pid", "started_at", "kernel_release")
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    pid: int
    started_at: _timestamp_pb2.Timestamp
    kernel_release: str
    def __init__(self, pid: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kernel_release: _Optional[str] = ...) -> None: ...

class SignalRequest(_message.Message):
    __slots__ = ("container_id", "process_id", "signal")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    process_id: str
    signal: int
    def __init__(self, container_id: _Optional[str] = ..., process_id: _Optional[str] = ..., signal: _Optional[int] = ...) -> None: ...

class SignalResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateLimitsRequest(_message.Message):
    __slots__ = ("container_id", "limits")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    limits: _process_pb2.WorkloadLimits
    def __init__(self, container_id: _Optional[str] = ..., limits: _Optional[_Union[_process_pb2.WorkloadLimits, _Mapping]] = ...) -> None: ...

class UpdateLimitsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PowerOffRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class PowerOffResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RetireRequest(_message.Message):
    __slots__ = ("container_id", "boot_id")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    boot_id: str
    def __init__(self, container_id: _Optional[str] = ..., boot_id: _Optional[str] = ...) -> None: ...

class RetireResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

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
    event: ProcessEvent
    def __init__(self, started: _Optional[_Union[WatchStarted, _Mapping]] = ..., event: _Optional[_Union[ProcessEvent, _Mapping]] = ...) -> None: ...

class WatchStarted(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class ProcessEvent(_message.Message):
    __slots__ = ("sequence", "container_id", "boot_id", "process_id", "running", "ended", "health", "created", "command")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    container_id: str
    boot_id: str
    process_id: str
    running: ProcessRunning
    ended: ProcessEnded
    health: _health_pb2.Health
    created: ProcessCreated
    command: str
    def __init__(self, sequence: _Optional[int] = ..., container_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., process_id: _Optional[str] = ..., running: _Optional[_Union[ProcessRunning, _Mapping]] = ..., ended: _Optional[_Union[ProcessEnded, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.Health, _Mapping]] = ..., created: _Optional[_Union[ProcessCreated, _Mapping]] = ..., command: _Optional[str] = ...) -> None: ...

class ProcessCreated(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProcessRunning(_message.Message):
    __slots__ = ("pid", "started_at")
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    pid: int
    started_at: _timestamp_pb2.Timestamp
    def __init__(self, pid: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ProcessEnded(_message.Message):
    __slots__ = ("exit_code", "oom_killed", "finished_at")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    oom_killed: bool
    finished_at: _timestamp_pb2.Timestamp
    def __init__(self, exit_code: _Optional[int] = ..., oom_killed: _Optional[bool] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AcknowledgeRequest(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class AcknowledgeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AdmitRequest(_message.Message):
    __slots__ = ("container_id", "boot_id", "tether_id")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    TETHER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    boot_id: str
    tether_id: str
    def __init__(self, container_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., tether_id: _Optional[str] = ...) -> None: ...

class AdmitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
