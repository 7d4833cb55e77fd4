"""Holes of a file that a process maps privately become memory of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hostagent.forking.untouched import SMALLEST_HOLE, own_untouched

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MIB = 1 << 20
SIZE = 16 * MIB
DATA = 6 * MIB
# What it maps, it writes to and reads from as it is told to.
SUBJECT = """
import mmap, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
memory = mmap.mmap(int(sys.argv[2]), int(sys.argv[3]), flags=mmap.MAP_PRIVATE)
channel.send(b"mapped")
while order := channel.recv(100):
    place, _, text = order.partition(b" ")
    place = int(place)
    if text:
        memory[place:place + len(text)] = text
    channel.send(memory[place:place + 5])
"""


class Subject:
    """A process that maps a file with a hole before its data and one behind."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("memory")
        os.ftruncate(self.memory, SIZE)
        os.pwrite(self.memory, b"there", DATA)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(60)
        numbers = (theirs.fileno(), self.memory)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUBJECT, *map(str, numbers), str(SIZE)], pass_fds=numbers
            )
        assert self._socket.recv(100) == b"mapped"

    def write(self, place: int, text: bytes) -> bytes:
        """Have it write, and return what it reads there then."""
        self._socket.send(b"%d %s" % (place, text))
        return self._socket.recv(100)

    def read(self, place: int) -> bytes:
        """Have it read."""
        return self.write(place, b"")

    @property
    def filled(self) -> int:
        """How many bytes of the file there are."""
        return os.fstat(self.memory).st_blocks * 512

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._socket.close()
        os.close(self.memory)


@pytest.fixture
def subject() -> Iterator[Subject]:
    made = Subject()
    yield made
    made.end()


def test_what_was_not_touched_is_the_processs_own(subject: Subject) -> None:
    before = subject.filled
    assert own_untouched(subject.process.pid, subject.memory) == SIZE - before
    assert subject.write(2 * MIB, b"first") == b"first"
    assert subject.read(SIZE - MIB) == bytes(5)
    # Neither has put a page into the file, which would be this process's for good.
    assert subject.filled == before
    assert subject.read(DATA) == b"there"
    assert os.pread(subject.memory, 5, 2 * MIB) == bytes(5)


def test_what_was_touched_stays(subject: Subject) -> None:
    assert subject.write(2 * MIB, b"early") == b"early"
    own_untouched(subject.process.pid, subject.memory)
    assert subject.read(2 * MIB) == b"early"
    assert subject.write(DATA, b"other") == b"other"
    assert os.pread(subject.memory, 5, DATA) == b"there"


def test_a_small_hole_stays_the_files(subject: Subject) -> None:
    os.pwrite(subject.memory, b"x", DATA + SMALLEST_HOLE)
    before = subject.filled
    own_untouched(subject.process.pid, subject.memory)
    assert subject.write(DATA + SMALLEST_HOLE // 2, b"small") == b"small"
    assert subject.filled > before


def test_a_process_that_is_gone_is_told(subject: Subject) -> None:
    subject.process.kill()
    subject.process.wait()
    with pytest.raises(OSError, match="No such"):
        own_untouched(subject.process.pid, subject.memory)
