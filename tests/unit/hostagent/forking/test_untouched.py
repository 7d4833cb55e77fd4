"""Holes of a file that a process maps privately become memory of its own."""

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostagent.forking import anatomy, ptrace
from hostagent.forking import untouched as module
from hostagent.forking.ptrace import Thread, TraceError
from hostagent.forking.standing import CannotStand
from hostagent.forking.untouched import SMALLEST_HOLE, own_untouched

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MIB = 1 << 20
SIZE = 16 * MIB
DATA = 6 * MIB
# What it maps, it writes to and reads from as it is told to.
SUBJECT = """
import mmap, os, socket, sys, threading, time
channel = socket.socket(fileno=int(sys.argv[1]))
memory = mmap.mmap(int(sys.argv[2]), int(sys.argv[3]), flags=mmap.MAP_PRIVATE)
exec(sys.argv[4])
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

    def __init__(self, more: str = "") -> None:
        """Start it; ``more`` is what it does beforehand, and may have in threads."""
        self.memory = os.memfd_create("memory")
        os.ftruncate(self.memory, SIZE)
        os.pwrite(self.memory, b"there", DATA)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(60)
        numbers = (theirs.fileno(), self.memory)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUBJECT, *map(str, numbers), str(SIZE), more],
                pass_fds=numbers,
                stdin=subprocess.PIPE,
            )
        assert self._socket.recv(100) == b"mapped"
        status = os.fstat(self.memory)
        (mapping,) = anatomy.mappings(self.process.pid, (status.st_dev, status.st_ino))
        self.place = mapping.start

    def write(self, place: int, text: bytes) -> bytes:
        """Have it write, and return what it reads there then."""
        self._socket.send(b"%d %s" % (place, text))
        return self._socket.recv(100)

    def read(self, place: int) -> bytes:
        """Have it read."""
        return self.write(place, b"")

    def flags(self) -> list[set[str]]:
        """Return the flags of each part of the memory that it has mapped. Source: proc(5)."""
        found, inside = [], False
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            name, _, rest = line.partition(" ")
            if name == "VmFlags:" and inside:
                found.append(set(rest.split()))
            elif not name.endswith(":"):
                start = int(name.partition("-")[0], 16)
                inside = self.place <= start < self.place + SIZE
        return found

    @property
    def filled(self) -> int:
        """How many bytes of the file there are."""
        return os.fstat(self.memory).st_blocks * 512

    def until_out_of_reach(self) -> None:
        """Wait until a thread waits where nothing but a kill reaches it. Source: proc(5)."""
        deadline = time.monotonic() + 60
        while "D" not in [self._state(tid) for tid in anatomy.thread_ids(self.process.pid)]:
            assert time.monotonic() < deadline
            os.sched_yield()

    def _state(self, tid: int) -> str:
        status = Path(f"/proc/{self.process.pid}/task/{tid}/stat").read_text()
        return status.rpartition(") ")[2][0]

    def end_thread(self) -> None:
        """End the thread that reads its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
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


def test_no_core_dump_has_it_and_its_pages_are_small(subject: Subject) -> None:
    own_untouched(subject.process.pid, subject.memory)
    parts = subject.flags()
    assert len(parts) == 3
    assert all({"dd", "nh"} <= flags for flags in parts)


def test_a_process_that_is_gone_is_told(subject: Subject) -> None:
    subject.process.kill()
    subject.process.wait()
    with pytest.raises(CannotStand, match="No such"):
        own_untouched(subject.process.pid, subject.memory)


def test_where_ptrace_is_not_to_be_had_a_process_goes_on(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ptrace.call

    def refused(request: int, tid: int, address: int = 0, data: object = 0) -> int:
        if request == ptrace.SEIZE:
            raise PermissionError(errno.EPERM, "not permitted")
        return real(request, tid, address, data)

    monkeypatch.setattr(ptrace, "call", refused)
    with pytest.raises(CannotStand, match="not permitted"):
        own_untouched(subject.process.pid, subject.memory)
    assert subject.write(2 * MIB, b"first") == b"first"


def test_a_thread_that_ends_meanwhile_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("threading.Thread(target=sys.stdin.readline).start()")
    real = anatomy.thread_ids
    listed: list[int] = []

    def ended(pid: int) -> list[int]:
        found = real(pid)
        if not listed:
            subject.end_thread()
            while len(real(pid)) == len(found):
                os.sched_yield()
        listed.append(len(found))
        return found

    monkeypatch.setattr(anatomy, "thread_ids", ended)
    assert own_untouched(subject.process.pid, subject.memory) > 0
    assert listed[:2] == [2, 1]
    subject.end()


# The thread waits in vfork(2), where nothing but a kill reaches it, until its child has executed a
# program: after it has opened a FIFO that somebody writes to. Without the interpreter's lock.
SPAWNS = """
import ctypes
libc = ctypes.CDLL(None)
actions, pid = ctypes.create_string_buffer(512), ctypes.c_int()
libc.posix_spawn_file_actions_init(actions)
libc.posix_spawn_file_actions_addopen(actions, 0, {fifo!r}, os.O_RDONLY, 0)
arguments, environment = (ctypes.c_char_p * 2)(b"true", None), (ctypes.c_char_p * 1)(None)
threading.Thread(target=libc.posix_spawn, args=(
    ctypes.byref(pid), b"/bin/true", actions, None, arguments, environment)).start()
"""


def test_a_thread_that_does_not_stop_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.2)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    subject = Subject(SPAWNS.format(fifo=os.fsencode(fifo)))
    subject.until_out_of_reach()
    with ThreadPoolExecutor(1) as pool:
        owned = pool.submit(own_untouched, subject.process.pid, subject.memory)
        with pytest.raises(CannotStand, match="does not stop"):
            owned.result(60)
        # Nobody holds it then: the others go on, and that thread comes to its end.
        assert subject.write(2 * MIB, b"first") == b"first"
        fifo.write_bytes(b"")
        deadline = time.monotonic() + 60
        while len(anatomy.thread_ids(subject.process.pid)) > 1:
            assert time.monotonic() < deadline
            os.sched_yield()
    subject.end()


@pytest.mark.parametrize("when", ["before", "in a call"])
def test_a_process_that_is_killed_while_it_stands_is_collected(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(
        "for _ in range(3): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
    )
    begin = Thread.begin

    def killed(self: Thread, at: int, number: int, arguments: list[int]) -> None:
        steps: list[Callable[[], None]] = [
            lambda: os.kill(subject.process.pid, signal.SIGKILL),
            lambda: begin(self, at, number, arguments),
        ]
        for step in steps if when == "before" else reversed(steps):
            step()

    monkeypatch.setattr(Thread, "begin", killed)
    pidfd = os.pidfd_open(subject.process.pid)
    # As asyncio's, its thread lives on.
    with ThreadPoolExecutor(1) as pool:
        owned = pool.submit(own_untouched, subject.process.pid, subject.memory)
        with pytest.raises((OSError, TraceError)):
            owned.result(60)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(60_000)
    os.close(pidfd)
    subject.end()


def test_a_call_that_does_not_return_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLS_SECONDS", 0.1)
    subject = Subject()
    begin = Thread.begin
    pause = 34

    def waits(self: Thread, at: int, _number: int, arguments: list[int]) -> None:
        begin(self, at, pause, arguments)

    monkeypatch.setattr(Thread, "begin", waits)
    with ThreadPoolExecutor(1) as pool:
        owned = pool.submit(own_untouched, subject.process.pid, subject.memory)
        with pytest.raises(TraceError, match="ended"):
            owned.result(60)
    subject.end()
