"""An entry of the log may hold several lines; clients get each of them by itself."""

from google.protobuf.timestamp_pb2 import Timestamp
from vic.interaction.v1.interaction_pb2 import LogEntry
from vic.tether.v1.process_pb2 import STD_STREAM_STDOUT

from gateway.routes.logs import _Form
from gateway.translate.framing import frame

OUT = STD_STREAM_STDOUT
TIME = "2023-11-14T22:13:20.000000005Z"


def entry(data: bytes, *, line_start: bool = True) -> LogEntry:
    """Return an entry of a fixed time."""
    time = Timestamp(seconds=1_700_000_000, nanos=5)
    return LogEntry(time=time, stream=OUT, data=data, line_start=line_start)


def test_each_line_is_a_frame() -> None:
    form = _Form(tty=False, timestamps=False, details=False)
    assert form.bytes_of(entry(b"a\n\nrest")) == frame(OUT, b"a\n") + frame(OUT, b"\n") + frame(
        OUT, b"rest"
    )


def test_each_line_has_its_time_and_the_rest_of_one_has_none() -> None:
    form = _Form(tty=True, timestamps=True, details=False)
    assert form.bytes_of(entry(b"a\nb\n")) == f"{TIME} a\n{TIME} b\n".encode()
    assert form.bytes_of(entry(b"end\nb", line_start=False)) == f"end\n{TIME} b".encode()


def test_bytes_are_those_that_were_written() -> None:
    form = _Form(tty=True, timestamps=False, details=False)
    data = b"\0\r\nx\ry\n\n\x85\x0c"
    assert form.bytes_of(entry(data)) == data
