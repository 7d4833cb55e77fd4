"""Docker's framing of two output streams on one connection."""

import struct

from vic.tether.v1.process_pb2 import StdStream

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_MULTIPLEXED_SINCE = (1, 42)
_HEAD = struct.Struct(">BxxxI")


def media_type(version: tuple[int, int], tty: bool) -> str:
    """The content type of output; before 1.42 clients have to know whether it is framed."""
    return MULTIPLEXED if not tty and version >= _MULTIPLEXED_SINCE else RAW


def frame(stream: StdStream, data: bytes) -> bytes:
    """One frame: stream number, three zeros, length, data."""
    number = 2 if stream == StdStream.STD_STREAM_STDERR else 1
    return _HEAD.pack(number, len(data)) + data
