"""What a parent's guest never touched is memory of a clone's own.

A clone maps its parent's memory privately. Where that has a hole, a clone that writes there is
given two pages by the kernel: one that fills the parent's hole, charged for good to the clone that
came first, and the copy. A guest that used all its memory so had it twice, and its group's bound
killed the VM. Holes are therefore mapped as anonymous memory, which reads as zeros just as well,
and spares a page and a copy at the first touch. Forks of a template have it from that.

QEMU knows nothing of it: its main thread is made to call mmap(2), before its guest runs and while
all its threads stand still, so that nobody touches a hole meanwhile. What QEMU has asked for all of
its guest's memory it asks for again: no core dump has it. And pages stay small ones, as a file's
are, whatever is the host's default: a clone touches a little here and there.
Source: memfd_create(2), lseek(2) (SEEK_HOLE), mmap(2), madvise(2).
"""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from hostagent.forking import anatomy, ptrace
from hostagent.forking.standing import CannotStand, NotAtRest, Standing

_MMAP, _MADVISE = 9, 28
_PROT_READ_WRITE = 0x3
# MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE: as QEMU maps a guest's memory.
_OWN = 0x2 | 0x10 | 0x20 | 0x4000
_MADV_NOHUGEPAGE, _MADV_DONTDUMP = 15, 16
# A smaller hole isn't worth a mapping; a parent has some ten larger ones, a few of which are nearly
# all of it. In bytes.
SMALLEST_HOLE = 64 << 10
# QEMU rests between two orders; else it does so in some milliseconds, on a host that isn't busy.
# Whoever starts a container waits for this. In seconds.
REST_SECONDS = 2.0
REST_PAUSE = 0.002
# All of its calls take a millisecond; on a host so busy that they take this long nobody gets on. It
# is looked so often whether it was killed meanwhile. In seconds.
CALLS_SECONDS = 30.0
LOOK_SECONDS = 0.25


def own_untouched(pid: int, memory: int) -> int:
    """Have a process map the holes of a file as its own memory; return their bytes. Blocks.

    ``memory`` is the file, which the process has mapped privately, for reading and writing.
    Raises CannotStand, where it goes on as it was; OSError and TraceError, where it can't go on.
    """
    deadline = time.monotonic() + REST_SECONDS
    while True:
        try:
            seconds = deadline - time.monotonic()
            return _in_thread_of_its_own(pid, partial(_own, pid, memory, seconds))
        except NotAtRest as error:
            if time.monotonic() > deadline:
                raise CannotStand(f"process {pid} does not come to rest: {error}") from error
        # A thread that has just been woken is on its way back; nothing tells of its arrival.
        time.sleep(REST_PAUSE)


def _in_thread_of_its_own(pid: int, work: Callable[[], int]) -> int:
    """Return what something returns that traces a process, which is ended when it takes too long.

    What a thread traces the kernel lets go, or collects, when that thread ends: also a process that
    was killed meanwhile, which is never seen to have ended as long as somebody holds its threads.
    """
    results: list[int] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 — whatever it is, it is raised below
            errors.append(error)

    thread = threading.Thread(target=run, name="standing")
    thread.start()
    thread.join(LOOK_SECONDS)
    deadline = time.monotonic() + CALLS_SECONDS
    while thread.is_alive():
        # Until it ends its process is there, as nobody else can have collected it.
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _collect_others(pid)
        thread.join(LOOK_SECONDS)
    for error in errors:
        raise error
    return results[0]


def _collect_others(pid: int) -> None:
    """Collect a traced process's threads that have ended, all but the main one: it is told then."""
    with suppress(FileNotFoundError):
        for tid in anatomy.thread_ids(pid)[1:]:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, tid, os.WEXITED | os.WNOHANG | ptrace.WALL)


def _own(pid: int, memory: int, seconds: float) -> int:
    with Standing(pid, seconds=seconds) as process:
        status = os.fstat(memory)
        mappings = list(anatomy.mappings(pid, (status.st_dev, status.st_ino)))
        parts = list(_untouched(mappings, memory, status.st_size))
        for start, length in parts:
            process.call(_MMAP, start, length, _PROT_READ_WRITE, _OWN, -1, 0)
        for mapping in mappings if parts else ():
            process.call(_MADVISE, mapping.start, mapping.length, _MADV_DONTDUMP)
            # A kernel without large pages doesn't know what it is asked for.
            with suppress(OSError):
                process.call(_MADVISE, mapping.start, mapping.length, _MADV_NOHUGEPAGE)
    return sum(length for _, length in parts)


def _untouched(
    mappings: Sequence[anatomy.Mapping], memory: int, size: int
) -> Iterator[tuple[int, int]]:
    """Yield start and length of a process's memory that is a hole of a file."""
    for first, end in _holes(memory, size):
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
