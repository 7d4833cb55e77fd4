"""What a parent's guest never touched is memory of a clone's own.

A clone maps its parent's memory privately. Where that has a hole, a clone that writes there is
given two pages by the kernel: one that fills the parent's hole, charged for good to the clone that
came first, and the copy. A guest that used all its memory so had it twice, and its group's bound
killed the VM. Holes are therefore mapped as anonymous memory, which reads as zeros just as well,
and spares a page and a copy at the first touch. Forks of a template have it from that.

QEMU knows nothing of it: its main thread is made to call mmap(2), before its guest runs and while
all its threads stand still, so that nobody touches a hole meanwhile.
Source: memfd_create(2), lseek(2) (SEEK_HOLE), mmap(2).
"""

import errno
import os
import time
from collections.abc import Iterator

from hostagent.forking import anatomy
from hostagent.forking.standing import NotAtRest, Standing

_MMAP = 9
_PROT_READ_WRITE = 0x3
# MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE: as QEMU maps a guest's memory.
_OWN = 0x2 | 0x10 | 0x20 | 0x4000
# A smaller hole isn't worth a mapping; a parent has some ten larger ones, a few of which are nearly
# all of it. In bytes.
SMALLEST_HOLE = 64 << 10
# QEMU rests between two orders; else it does so in some milliseconds, on a host that isn't busy. In
# seconds.
REST_SECONDS = 10.0
REST_PAUSE = 0.002


def own_untouched(pid: int, memory: int) -> int:
    """Have a process map the holes of a file as its own memory; return their bytes. Blocks.

    ``memory`` is the file, which the process has mapped privately, for reading and writing.
    Raises OSError (TimeoutError where it does not come to rest), TraceError.
    """
    deadline = time.monotonic() + REST_SECONDS
    while True:
        try:
            with Standing(pid) as process:
                parts = list(_untouched(pid, memory))
                for start, length in parts:
                    process.call(_MMAP, start, length, _PROT_READ_WRITE, _OWN, -1, 0)
            return sum(length for _, length in parts)
        except NotAtRest as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} does not come to rest: {error}") from error
        # A thread that has just been woken is on its way back; nothing tells of its arrival.
        time.sleep(REST_PAUSE)


def _untouched(pid: int, memory: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of a process's memory that is a hole of a file."""
    status = os.fstat(memory)
    mappings = list(anatomy.mappings(pid, (status.st_dev, status.st_ino)))
    for first, end in _holes(memory, status.st_size):
        for mapping in mappings:
            begin = max(first, mapping.offset)
            length = min(end, mapping.offset + mapping.length) - begin
            if length >= SMALLEST_HOLE:
                yield mapping.start + begin - mapping.offset, length


def _holes(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where each hole of a file begins and ends."""
    position = 0
    while position < size:
        start = os.lseek(file, position, os.SEEK_HOLE)
        if start >= size:
            return  # what is behind the last byte
        try:
            position = os.lseek(file, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            position = size
        yield start, position
