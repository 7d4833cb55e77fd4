"""Values of a process's output."""

from dataclasses import dataclass
from enum import IntEnum

MAX_CHUNK = 512 * 1024
"""Most bytes of output, or of input for a process, in one message: an emulated guest pays for each
message, and for each turn that its process and its tether take."""

MAX_INPUT = 256 * 1024
"""Most bytes of input in one message of a client's."""


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
