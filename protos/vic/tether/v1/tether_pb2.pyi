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

class LaunchFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAUNCH_FAILURE_UNSPECIFIED: _ClassVar[LaunchFailure]
    LAUNCH_FAILURE_NOT_FOUND: _ClassVar[LaunchFailure]
    LAUNCH_FAILURE_NOT_EXECUTABLE: _ClassVar[LaunchFailure]
    LAUNCH_FAILURE_UNKNOWN_USER: _ClassVar[LaunchFailure]
    LAUNCH_FAILURE_WORKING_DIRECTORY: _ClassVar[LaunchFailure]
    LAUNCH_FAILURE_SETUP: _ClassVar[LaunchFailure]
LAUNCH_FAILURE_UNSPECIFIED: LaunchFailure
LAUNCH_FAILURE_NOT_FOUND: LaunchFailure
LAUNCH_FAILURE_NOT_EXECUTABLE: LaunchFailure
LAUNCH_FAILURE_UNKNOWN_USER: LaunchFailure
LAUNCH_FAILURE_WORKING_DIRECTORY: LaunchFailure
LAUNCH_FAILURE_SETUP: LaunchFailure

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "started", "launch_failed", "exited", "result", "stats", "process_list", "health", "clock")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_FAILED_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_LIST_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    started: ProcessStarted
    launch_failed: LaunchFailed
    exited: ProcessExited
    result: CommandResult
    stats: StatsSample
    process_list: ProcessList
    health: _health_pb2.Health
    clock: ClockQuestion
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., started: _Optional[_Union[ProcessStarted, _Mapping]] = ..., launch_failed: _Optional[_Union[LaunchFailed, _Mapping]] = ..., exited: _Optional[_Union[ProcessExited, _Mapping]] = ..., result: _Optional[_Union[CommandResult, _Mapping]] = ..., stats: _Optional[_Union[StatsSample, _Mapping]] = ..., process_list: _Optional[_Union[ProcessList, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.Health, _Mapping]] = ..., clock: _Optional[_Union[ClockQuestion, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("boot_id", "kernel_release", "tether_version", "processes", "health")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    TETHER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    kernel_release: str
    tether_version: str
    processes: _containers.RepeatedCompositeFieldContainer[ProcessState]
    health: _health_pb2.Health
    def __init__(self, boot_id: _Optional[str] = ..., kernel_release: _Optional[str] = ..., tether_version: _Optional[str] = ..., processes: _Optional[_Iterable[_Union[ProcessState, _Mapping]]] = ..., health: _Optional[_Union[_health_pb2.Health, _Mapping]] = ...) -> None: ...

class ProcessState(_message.Message):
    __slots__ = ("process_id", "pid", "started_at", "exited")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    pid: int
    started_at: _timestamp_pb2.Timestamp
    exited: ProcessExited
    def __init__(self, process_id: _Optional[str] = ..., pid: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exited: _Optional[_Union[ProcessExited, _Mapping]] = ...) -> None: ...

class ProcessStarted(_message.Message):
    __slots__ = ("process_id", "pid", "started_at")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    pid: int
    started_at: _timestamp_pb2.Timestamp
    def __init__(self, process_id: _Optional[str] = ..., pid: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LaunchFailed(_message.Message):
    __slots__ = ("process_id", "reason", "message", "exit_code")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    reason: LaunchFailure
    message: str
    exit_code: int
    def __init__(self, process_id: _Optional[str] = ..., reason: _Optional[_Union[LaunchFailure, str]] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class ProcessExited(_message.Message):
    __slots__ = ("process_id", "exit_code", "oom_killed", "finished_at")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    exit_code: int
    oom_killed: bool
    finished_at: _timestamp_pb2.Timestamp
    def __init__(self, process_id: _Optional[str] = ..., exit_code: _Optional[int] = ..., oom_killed: _Optional[bool] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("command_id", "error")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    error: str
    def __init__(self, command_id: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ProcessList(_message.Message):
    __slots__ = ("command_id", "titles", "rows", "complete", "error")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    TITLES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    titles: _containers.RepeatedScalarFieldContainer[str]
    rows: _containers.RepeatedCompositeFieldContainer[ProcessListRow]
    complete: bool
    error: str
    def __init__(self, command_id: _Optional[int] = ..., titles: _Optional[_Iterable[str]] = ..., rows: _Optional[_Iterable[_Union[ProcessListRow, _Mapping]]] = ..., complete: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class ProcessListRow(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, columns: _Optional[_Iterable[str]] = ...) -> None: ...

class StatsSample(_message.Message):
    __slots__ = ("time", "cpu_usage_us", "cpu_user_us", "cpu_system_us", "cpu_throttled_periods", "cpu_periods", "cpu_throttled_us", "system_cpu_us", "online_cpus", "memory_bytes", "memory_limit_bytes", "memory_stat", "pids", "pids_limit", "interfaces", "blocks")
    class MemoryStatEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_USAGE_US_FIELD_NUMBER: _ClassVar[int]
    CPU_USER_US_FIELD_NUMBER: _ClassVar[int]
    CPU_SYSTEM_US_FIELD_NUMBER: _ClassVar[int]
    CPU_THROTTLED_PERIODS_FIELD_NUMBER: _ClassVar[int]
    CPU_PERIODS_FIELD_NUMBER: _ClassVar[int]
    CPU_THROTTLED_US_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_CPU_US_FIELD_NUMBER: _ClassVar[int]
    ONLINE_CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_STAT_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    cpu_usage_us: int
    cpu_user_us: int
    cpu_system_us: int
    cpu_throttled_periods: int
    cpu_periods: int
    cpu_throttled_us: int
    system_cpu_us: int
    online_cpus: int
    memory_bytes: int
    memory_limit_bytes: int
    memory_stat: _containers.ScalarMap[str, int]
    pids: int
    pids_limit: int
    interfaces: _containers.RepeatedCompositeFieldContainer[InterfaceStats]
    blocks: _containers.RepeatedCompositeFieldContainer[BlockStats]
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cpu_usage_us: _Optional[int] = ..., cpu_user_us: _Optional[int] = ..., cpu_system_us: _Optional[int] = ..., cpu_throttled_periods: _Optional[int] = ..., cpu_periods: _Optional[int] = ..., cpu_throttled_us: _Optional[int] = ..., system_cpu_us: _Optional[int] = ..., online_cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ..., memory_stat: _Optional[_Mapping[str, int]] = ..., pids: _Optional[int] = ..., pids_limit: _Optional[int] = ..., interfaces: _Optional[_Iterable[_Union[InterfaceStats, _Mapping]]] = ..., blocks: _Optional[_Iterable[_Union[BlockStats, _Mapping]]] = ...) -> None: ...

class InterfaceStats(_message.Message):
    __slots__ = ("name", "rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RX_BYTES_FIELD_NUMBER: _ClassVar[int]
    RX_PACKETS_FIELD_NUMBER: _ClassVar[int]
    RX_ERRORS_FIELD_NUMBER: _ClassVar[int]
    RX_DROPPED_FIELD_NUMBER: _ClassVar[int]
    TX_BYTES_FIELD_NUMBER: _ClassVar[int]
    TX_PACKETS_FIELD_NUMBER: _ClassVar[int]
    TX_ERRORS_FIELD_NUMBER: _ClassVar[int]
    TX_DROPPED_FIELD_NUMBER: _ClassVar[int]
    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int
    def __init__(self, name: _Optional[str] = ..., rx_bytes: _Optional[int] = ..., rx_packets: _Optional[int] = ..., rx_errors: _Optional[int] = ..., rx_dropped: _Optional[int] = ..., tx_bytes: _Optional[int] = ..., tx_packets: _Optional[int] = ..., tx_errors: _Optional[int] = ..., tx_dropped: _Optional[int] = ...) -> None: ...

class BlockStats(_message.Message):
    __slots__ = ("major", "minor", "read_bytes", "write_bytes", "read_operations", "write_operations")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_FIELD_NUMBER: _ClassVar[int]
    READ_OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    WRITE_OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    major: int
    minor: int
    read_bytes: int
    write_bytes: int
    read_operations: int
    write_operations: int
    def __init__(self, major: _Optional[int] = ..., minor: _Optional[int] = ..., read_bytes: _Optional[int] = ..., write_bytes: _Optional[int] = ..., read_operations: _Optional[int] = ..., write_operations: _Optional[int] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "launch", "signal", "resize", "exit_acknowledged", "power_off", "stats", "top", "clock", "update_limits")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    EXIT_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    POWER_OFF_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    launch: LaunchCommand
    signal: SignalCommand
    resize: ResizeCommand
    exit_acknowledged: ExitAcknowledged
    power_off: PowerOffCommand
    stats: StatsCommand
    top: TopCommand
    clock: ClockAnswer
    update_limits: UpdateLimitsCommand
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., launch: _Optional[_Union[LaunchCommand, _Mapping]] = ..., signal: _Optional[_Union[SignalCommand, _Mapping]] = ..., resize: _Optional[_Union[ResizeCommand, _Mapping]] = ..., exit_acknowledged: _Optional[_Union[ExitAcknowledged, _Mapping]] = ..., power_off: _Optional[_Union[PowerOffCommand, _Mapping]] = ..., stats: _Optional[_Union[StatsCommand, _Mapping]] = ..., top: _Optional[_Union[TopCommand, _Mapping]] = ..., clock: _Optional[_Union[ClockAnswer, _Mapping]] = ..., update_limits: _Optional[_Union[UpdateLimitsCommand, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClockQuestion(_message.Message):
    __slots__ = ("asked_ns",)
    ASKED_NS_FIELD_NUMBER: _ClassVar[int]
    asked_ns: int
    def __init__(self, asked_ns: _Optional[int] = ...) -> None: ...

class ClockAnswer(_message.Message):
    __slots__ = ("asked_ns", "time")
    ASKED_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    asked_ns: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, asked_ns: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LaunchCommand(_message.Message):
    __slots__ = ("process_id", "process", "init", "limits", "sandbox", "health")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    process: _process_pb2.ProcessSpec
    init: bool
    limits: _process_pb2.WorkloadLimits
    sandbox: _process_pb2.SandboxOptions
    health: _health_pb2.HealthProbe
    def __init__(self, process_id: _Optional[str] = ..., process: _Optional[_Union[_process_pb2.ProcessSpec, _Mapping]] = ..., init: _Optional[bool] = ..., limits: _Optional[_Union[_process_pb2.WorkloadLimits, _Mapping]] = ..., sandbox: _Optional[_Union[_process_pb2.SandboxOptions, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.HealthProbe, _Mapping]] = ...) -> None: ...

class UpdateLimitsCommand(_message.Message):
    __slots__ = ("command_id", "limits")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    limits: _process_pb2.WorkloadLimits
    def __init__(self, command_id: _Optional[int] = ..., limits: _Optional[_Union[_process_pb2.WorkloadLimits, _Mapping]] = ...) -> None: ...

class SignalCommand(_message.Message):
    __slots__ = ("command_id", "process_id", "signal")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    process_id: str
    signal: int
    def __init__(self, command_id: _Optional[int] = ..., process_id: _Optional[str] = ..., signal: _Optional[int] = ...) -> None: ...

class ResizeCommand(_message.Message):
    __slots__ = ("command_id", "process_id", "window")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    process_id: str
    window: _process_pb2.WindowSize
    def __init__(self, command_id: _Optional[int] = ..., process_id: _Optional[str] = ..., window: _Optional[_Union[_process_pb2.WindowSize, _Mapping]] = ...) -> None: ...

class ExitAcknowledged(_message.Message):
    __slots__ = ("process_id",)
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    def __init__(self, process_id: _Optional[str] = ...) -> None: ...

class PowerOffCommand(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TopCommand(_message.Message):
    __slots__ = ("command_id", "ps_args")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    PS_ARGS_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    ps_args: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, command_id: _Optional[int] = ..., ps_args: _Optional[_Iterable[str]] = ...) -> None: ...

class StatsCommand(_message.Message):
    __slots__ = ("period_ms",)
    PERIOD_MS_FIELD_NUMBER: _ClassVar[int]
    period_ms: int
    def __init__(self, period_ms: _Optional[int] = ...) -> None: ...

class StdioRequest(_message.Message):
    __slots__ = ("open", "output", "end", "stdin_acknowledged")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    STDIN_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    open: StdioOpen
    output: OutputChunk
    end: OutputEnd
    stdin_acknowledged: StdinAcknowledged
    def __init__(self, open: _Optional[_Union[StdioOpen, _Mapping]] = ..., output: _Optional[_Union[OutputChunk, _Mapping]] = ..., end: _Optional[_Union[OutputEnd, _Mapping]] = ..., stdin_acknowledged: _Optional[_Union[StdinAcknowledged, _Mapping]] = ...) -> None: ...

class StdioOpen(_message.Message):
    __slots__ = ("process_id", "boot_id", "stdin_offset")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    STDIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    boot_id: str
    stdin_offset: int
    def __init__(self, process_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., stdin_offset: _Optional[int] = ...) -> None: ...

class OutputChunk(_message.Message):
    __slots__ = ("stream", "sequence", "data", "time")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    stream: _process_pb2.StdStream
    sequence: int
    data: bytes
    time: _timestamp_pb2.Timestamp
    def __init__(self, stream: _Optional[_Union[_process_pb2.StdStream, str]] = ..., sequence: _Optional[int] = ..., data: _Optional[bytes] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OutputEnd(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class StdinAcknowledged(_message.Message):
    __slots__ = ("offset", "closed")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    offset: int
    closed: bool
    def __init__(self, offset: _Optional[int] = ..., closed: _Optional[bool] = ...) -> None: ...

class StdioResponse(_message.Message):
    __slots__ = ("output_acknowledged", "stdin", "stdin_end")
    OUTPUT_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDIN_END_FIELD_NUMBER: _ClassVar[int]
    output_acknowledged: OutputAcknowledged
    stdin: StdinChunk
    stdin_end: StdinEnd
    def __init__(self, output_acknowledged: _Optional[_Union[OutputAcknowledged, _Mapping]] = ..., stdin: _Optional[_Union[StdinChunk, _Mapping]] = ..., stdin_end: _Optional[_Union[StdinEnd, _Mapping]] = ...) -> None: ...

class OutputAcknowledged(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class StdinChunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class StdinEnd(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...
