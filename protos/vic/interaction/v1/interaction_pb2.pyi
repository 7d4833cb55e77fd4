import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vic.tether.v1 import process_pb2 as _process_pb2
from vic.tether.v1 import tether_pb2 as _tether_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchEnd(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_END_UNSPECIFIED: _ClassVar[WatchEnd]
    WATCH_END_REMOVED: _ClassVar[WatchEnd]
    WATCH_END_TETHER_AWAY: _ClassVar[WatchEnd]
    WATCH_END_NOT_HERE: _ClassVar[WatchEnd]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_MODIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_ADDED: _ClassVar[ChangeKind]
    CHANGE_KIND_DELETED: _ClassVar[ChangeKind]
WATCH_END_UNSPECIFIED: WatchEnd
WATCH_END_REMOVED: WatchEnd
WATCH_END_TETHER_AWAY: WatchEnd
WATCH_END_NOT_HERE: WatchEnd
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_MODIFIED: ChangeKind
CHANGE_KIND_ADDED: ChangeKind
CHANGE_KIND_DELETED: ChangeKind

class AttachRequest(_message.Message):
    __slots__ = ("start", "stdin")
    START_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    start: AttachStart
    stdin: bytes
    def __init__(self, start: _Optional[_Union[AttachStart, _Mapping]] = ..., stdin: _Optional[bytes] = ...) -> None: ...

class AttachStart(_message.Message):
    __slots__ = ("container_id", "stdin", "stdout", "stderr", "logs", "stream")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    stdin: bool
    stdout: bool
    stderr: bool
    logs: bool
    stream: bool
    def __init__(self, container_id: _Optional[str] = ..., stdin: _Optional[bool] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., logs: _Optional[bool] = ..., stream: _Optional[bool] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("ready", "output", "input_ended")
    READY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INPUT_ENDED_FIELD_NUMBER: _ClassVar[int]
    ready: AttachReady
    output: Output
    input_ended: InputEnded
    def __init__(self, ready: _Optional[_Union[AttachReady, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., input_ended: _Optional[_Union[InputEnded, _Mapping]] = ...) -> None: ...

class AttachReady(_message.Message):
    __slots__ = ("tty",)
    TTY_FIELD_NUMBER: _ClassVar[int]
    tty: bool
    def __init__(self, tty: _Optional[bool] = ...) -> None: ...

class InputEnded(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Output(_message.Message):
    __slots__ = ("stream", "data")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    stream: _process_pb2.StdStream
    data: bytes
    def __init__(self, stream: _Optional[_Union[_process_pb2.StdStream, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class CreateExecRequest(_message.Message):
    __slots__ = ("container_id", "exec_id", "process", "streams")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    exec_id: str
    process: _process_pb2.ProcessSpec
    streams: ExecStreams
    def __init__(self, container_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., process: _Optional[_Union[_process_pb2.ProcessSpec, _Mapping]] = ..., streams: _Optional[_Union[ExecStreams, _Mapping]] = ...) -> None: ...

class ExecStreams(_message.Message):
    __slots__ = ("stdout", "stderr", "detach_keys")
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    DETACH_KEYS_FIELD_NUMBER: _ClassVar[int]
    stdout: bool
    stderr: bool
    detach_keys: str
    def __init__(self, stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., detach_keys: _Optional[str] = ...) -> None: ...

class CreateExecResponse(_message.Message):
    __slots__ = ("exec_id",)
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    def __init__(self, exec_id: _Optional[str] = ...) -> None: ...

class StartExecRequest(_message.Message):
    __slots__ = ("start", "stdin")
    START_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    start: StartExecStart
    stdin: bytes
    def __init__(self, start: _Optional[_Union[StartExecStart, _Mapping]] = ..., stdin: _Optional[bytes] = ...) -> None: ...

class StartExecStart(_message.Message):
    __slots__ = ("exec_id", "detach", "window")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    detach: bool
    window: _process_pb2.WindowSize
    def __init__(self, exec_id: _Optional[str] = ..., detach: _Optional[bool] = ..., window: _Optional[_Union[_process_pb2.WindowSize, _Mapping]] = ...) -> None: ...

class StartExecResponse(_message.Message):
    __slots__ = ("ready", "output", "input_ended")
    READY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INPUT_ENDED_FIELD_NUMBER: _ClassVar[int]
    ready: StartExecReady
    output: Output
    input_ended: InputEnded
    def __init__(self, ready: _Optional[_Union[StartExecReady, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., input_ended: _Optional[_Union[InputEnded, _Mapping]] = ...) -> None: ...

class StartExecReady(_message.Message):
    __slots__ = ("tty",)
    TTY_FIELD_NUMBER: _ClassVar[int]
    tty: bool
    def __init__(self, tty: _Optional[bool] = ...) -> None: ...

class InspectExecRequest(_message.Message):
    __slots__ = ("exec_id",)
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    def __init__(self, exec_id: _Optional[str] = ...) -> None: ...

class InspectExecResponse(_message.Message):
    __slots__ = ("exec_id", "container_id", "process", "running", "exit_code", "pid", "streams")
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    container_id: str
    process: _process_pb2.ProcessSpec
    running: bool
    exit_code: int
    pid: int
    streams: ExecStreams
    def __init__(self, exec_id: _Optional[str] = ..., container_id: _Optional[str] = ..., process: _Optional[_Union[_process_pb2.ProcessSpec, _Mapping]] = ..., running: _Optional[bool] = ..., exit_code: _Optional[int] = ..., pid: _Optional[int] = ..., streams: _Optional[_Union[ExecStreams, _Mapping]] = ...) -> None: ...

class ListExecsRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class ListExecsResponse(_message.Message):
    __slots__ = ("exec_ids",)
    EXEC_IDS_FIELD_NUMBER: _ClassVar[int]
    exec_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, exec_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ResizeRequest(_message.Message):
    __slots__ = ("container_id", "exec_id", "window")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    exec_id: str
    window: _process_pb2.WindowSize
    def __init__(self, container_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., window: _Optional[_Union[_process_pb2.WindowSize, _Mapping]] = ...) -> None: ...

class ResizeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("container_id", "stdout", "stderr", "follow", "since", "until", "tail", "after")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    stdout: bool
    stderr: bool
    follow: bool
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    tail: int
    after: str
    def __init__(self, container_id: _Optional[str] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., follow: _Optional[bool] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tail: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class LogsResponse(_message.Message):
    __slots__ = ("entries", "position")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    position: str
    def __init__(self, entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("time", "stream", "data", "line_start")
    TIME_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LINE_START_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    stream: _process_pb2.StdStream
    data: bytes
    line_start: bool
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stream: _Optional[_Union[_process_pb2.StdStream, str]] = ..., data: _Optional[bytes] = ..., line_start: _Optional[bool] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("container_id", "stream")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    stream: bool
    def __init__(self, container_id: _Optional[str] = ..., stream: _Optional[bool] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("sample",)
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    sample: _tether_pb2.StatsSample
    def __init__(self, sample: _Optional[_Union[_tether_pb2.StatsSample, _Mapping]] = ...) -> None: ...

class WatchStatsRequest(_message.Message):
    __slots__ = ("watch", "leave")
    WATCH_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    watch: _containers.RepeatedScalarFieldContainer[str]
    leave: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, watch: _Optional[_Iterable[str]] = ..., leave: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchStatsResponse(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[WatchedSample]
    def __init__(self, samples: _Optional[_Iterable[_Union[WatchedSample, _Mapping]]] = ...) -> None: ...

class WatchedSample(_message.Message):
    __slots__ = ("container_id", "sample", "end")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    sample: _tether_pb2.StatsSample
    end: WatchEnd
    def __init__(self, container_id: _Optional[str] = ..., sample: _Optional[_Union[_tether_pb2.StatsSample, _Mapping]] = ..., end: _Optional[_Union[WatchEnd, str]] = ...) -> None: ...

class TopRequest(_message.Message):
    __slots__ = ("container_id", "ps_args")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PS_ARGS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    ps_args: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container_id: _Optional[str] = ..., ps_args: _Optional[_Iterable[str]] = ...) -> None: ...

class TopResponse(_message.Message):
    __slots__ = ("titles", "rows")
    TITLES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    titles: _containers.RepeatedScalarFieldContainer[str]
    rows: _containers.RepeatedCompositeFieldContainer[TopRow]
    def __init__(self, titles: _Optional[_Iterable[str]] = ..., rows: _Optional[_Iterable[_Union[TopRow, _Mapping]]] = ...) -> None: ...

class TopRow(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, columns: _Optional[_Iterable[str]] = ...) -> None: ...

class StatPathRequest(_message.Message):
    __slots__ = ("container_id", "path")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    path: str
    def __init__(self, container_id: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class StatPathResponse(_message.Message):
    __slots__ = ("stat",)
    STAT_FIELD_NUMBER: _ClassVar[int]
    stat: PathStat
    def __init__(self, stat: _Optional[_Union[PathStat, _Mapping]] = ...) -> None: ...

class PathStat(_message.Message):
    __slots__ = ("name", "size", "mode", "modified_at", "link_target")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_AT_FIELD_NUMBER: _ClassVar[int]
    LINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    mode: int
    modified_at: _timestamp_pb2.Timestamp
    link_target: str
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., modified_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., link_target: _Optional[str] = ...) -> None: ...

class GetArchiveRequest(_message.Message):
    __slots__ = ("container_id", "path", "export")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    path: str
    export: bool
    def __init__(self, container_id: _Optional[str] = ..., path: _Optional[str] = ..., export: _Optional[bool] = ...) -> None: ...

class GetArchiveResponse(_message.Message):
    __slots__ = ("stat", "data")
    STAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    stat: PathStat
    data: bytes
    def __init__(self, stat: _Optional[_Union[PathStat, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutArchiveRequest(_message.Message):
    __slots__ = ("start", "data")
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    start: PutArchiveStart
    data: bytes
    def __init__(self, start: _Optional[_Union[PutArchiveStart, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutArchiveStart(_message.Message):
    __slots__ = ("container_id", "path", "no_overwrite_dir_non_dir", "owner")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NO_OVERWRITE_DIR_NON_DIR_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    path: str
    no_overwrite_dir_non_dir: bool
    owner: str
    def __init__(self, container_id: _Optional[str] = ..., path: _Optional[str] = ..., no_overwrite_dir_non_dir: _Optional[bool] = ..., owner: _Optional[str] = ...) -> None: ...

class PutArchiveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChangesRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("kind", "path")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    kind: ChangeKind
    path: str
    def __init__(self, kind: _Optional[_Union[ChangeKind, str]] = ..., path: _Optional[str] = ...) -> None: ...

class ChangesResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class GetLayerRequest(_message.Message):
    __slots__ = ("container_id", "freeze")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    freeze: bool
    def __init__(self, container_id: _Optional[str] = ..., freeze: _Optional[bool] = ...) -> None: ...

class GetLayerResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
