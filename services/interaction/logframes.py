"""Form of a log file: a run of frames, one for each chunk of output, readable from both ends.

::

    offset  size
    0       1     0xA7
    1       1     flags: 1 standard error (otherwise output), 2 the chunk begins a line,
                  4 standard output is within a line after it, 8 standard error is
    2       2     zero
    4       4     length n of the chunk
    8       8     time, nanoseconds since 1970; never less than in the frame before
    16      8     sequence number, as the tether gave it
    24      8     boot: the first bytes of BLAKE2b of the boot's ID
    32      4     CRC-32 of the 32 bytes above and of the chunk
    36      n     the chunk
    36+n    4     40 + n, for who reads backwards

All numbers are little-endian. The last frame alone tells where the log stands: what the tether need
not send again, and whether the next byte begins a line. So nothing has to be written beside it, and
a frame that a crash cut short is found by its CRC and removed.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from isal import isal_zlib

from services.interaction.output import Stream

MAGIC: Final = 0xA7
# Above what one message from a tether can hold, so that a length beyond it is a broken frame.
MAX_DATA: Final = 1024 * 1024

_STDERR: Final = 1
_LINE_START: Final = 2
_WITHIN_LINE: Final = {Stream.STDOUT: 4, Stream.STDERR: 8}

_HEAD = struct.Struct("<BBHIQQQ")
_WORD = struct.Struct("<I")
HEAD_SIZE: Final = _HEAD.size + _WORD.size
OVERHEAD: Final = HEAD_SIZE + _WORD.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One chunk as it is stored."""

    stream: Stream
    line_start: bool
    # Streams that are within a line after this frame.
    within_line: frozenset[Stream]
    time_ns: int
    sequence: int
    boot: int
    data: bytes

    @property
    def size(self) -> int:
        """Bytes that the frame takes in a file."""
        return OVERHEAD + len(self.data)


def boot_number(boot_id: str) -> int:
    """Return what stands for a boot in a frame."""
    digest = hashlib.blake2b(boot_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def encode(frame: Frame) -> tuple[bytes, bytes, bytes]:
    """Return head, data and tail of a frame; the data is not copied."""
    flags = _STDERR if frame.stream is Stream.STDERR else 0
    if frame.line_start:
        flags |= _LINE_START
    for stream in frame.within_line:
        flags |= _WITHIN_LINE[stream]
    head = _HEAD.pack(MAGIC, flags, 0, len(frame.data), frame.time_ns, frame.sequence, frame.boot)
    crc = isal_zlib.crc32(frame.data, isal_zlib.crc32(head))
    return head + _WORD.pack(crc), frame.data, _WORD.pack(frame.size)


def decode(buffer: bytes, offset: int = 0) -> Frame | None:
    """Return the frame that begins at an offset, or None when no whole and sound one does."""
    size = frame_size(buffer, offset)
    if size is None or offset + size > len(buffer):
        return None
    _, flags, _, length, time_ns, sequence, boot = _HEAD.unpack_from(buffer, offset)
    start = offset + HEAD_SIZE
    data = buffer[start : start + length]
    (crc,) = _WORD.unpack_from(buffer, offset + _HEAD.size)
    if crc != isal_zlib.crc32(data, isal_zlib.crc32(buffer[offset : offset + _HEAD.size])):
        return None
    return Frame(
        stream=Stream.STDERR if flags & _STDERR else Stream.STDOUT,
        line_start=bool(flags & _LINE_START),
        within_line=frozenset(s for s, bit in _WITHIN_LINE.items() if flags & bit),
        time_ns=time_ns,
        sequence=sequence,
        boot=boot,
        data=data,
    )


def frame_size(buffer: bytes, offset: int) -> int | None:
    """Return the size of the frame whose head begins at an offset.

    None when there is no head; a size may still reach beyond the buffer.
    """
    if offset + HEAD_SIZE > len(buffer) or buffer[offset] != MAGIC:
        return None
    (length,) = _WORD.unpack_from(buffer, offset + 4)
    return OVERHEAD + length if length <= MAX_DATA else None


def decode_last(buffer: bytes, end: int) -> Frame | None:
    """Return the frame that ends at an offset, or None when no whole and sound one does."""
    if end < OVERHEAD:
        return None
    (size,) = _WORD.unpack_from(buffer, end - _WORD.size)
    if not OVERHEAD <= size <= end:
        return None
    frame = decode(buffer, end - size)
    return frame if frame is not None and frame.size == size else None


def decode_all(buffer: bytes) -> Iterator[tuple[int, Frame]]:
    """Yield whole and sound frames with their offsets, up to the first that is not."""
    offset = 0
    while (frame := decode(buffer, offset)) is not None:
        yield offset, frame
        offset += frame.size
