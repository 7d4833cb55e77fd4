"""Values of a process's output."""

from dataclasses import dataclass
from enum import IntEnum

MAX_CHUNK = 256 * 1024
"""Most bytes of output or input in one message."""


class Stream(IntEnum):
    """Standard streams of a process, numbered as in vic.tether.v1.StdStream."""

    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a tether read from a process at once."""

    stream: Stream
    sequence: int
    time_ns: int
    data: bytes
