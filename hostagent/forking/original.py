"""A template that is held by ptrace, and the way a fork of it comes to be."""

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hostagent.forking import anatomy, powers, ptrace
from hostagent.forking.anatomy import Descriptor
from hostagent.forking.ptrace import Thread, ThreadState, TraceError
from hostagent.forking.standing import CannotStand, NotAtRest, Standing

# Numbers of system calls. Source: asm/unistd_64.h.
_CLOSE, _MMAP, _MUNMAP, _MADVISE, _RECVMSG, _SOCKETPAIR, _CLONE = 3, 9, 11, 28, 47, 53, 56
_EPOLL_CTL, _SET_ROBUST_LIST, _UNSHARE, _SIGNALFD4, _EVENTFD2 = 233, 273, 272, 289, 290
_EPOLL_CREATE1, _DUP3, _PRCTL, _SECCOMP, _RSEQ = 291, 292, 157, 317, 334
_SETRESUID, _SETRESGID, _SETGROUPS, _CAPSET = 117, 119, 116, 126
_PIDFD_GETFD = 438
# <sched.h>
_THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000
"""VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS: what pthread_create(3) asks for."""
_PARENT, _CHILD_CLEARTID, _CHILD_SETTID = 0x8000, 0x200000, 0x1000000
_NEWIPC, _NEWNET = 0x08000000, 0x40000000
_MADV_DOFORK = 11
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, _PR_CAPBSET_DROP = 47, 4, 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1
_EPOLL_CTL_ADD = 1
_SIGNAL_SET_BYTES = 8

_SCRATCH_BYTES = 8192
_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS = 0x3, 0x22
# Where a C library keeps a thread's ID, counted from its thread pointer, is found by looking.
_THREAD_DESCRIPTOR_BYTES = 0x900


class CannotFork(Exception):
    """What stands here can't be forked, and why."""


@dataclass(frozen=True)
class Replacement:
    """A descriptor of the forker, and the numbers under which the fork has it."""

    numbers: Sequence[int]
    descriptor: int


@dataclass(frozen=True)
class Confinement:
    """What a fork becomes. ``kept`` are capabilities that the template has, by number."""

    uid: int
    kept: Sequence[int]


class Original:
    """A process whose threads all stand still for as long as we live; with us it ends."""

    def __init__(self, pid: int) -> None:
        """Take it; it goes on where that fails. Raises CannotFork, OSError, TraceError."""
        self._pid = pid
        try:
            self._standing = Standing(pid, ptrace.O_TRACEFORK | ptrace.O_TRACECLONE)
        except NotAtRest as error:
            raise CannotFork(str(error)) from error
        except CannotStand as error:
            raise TraceError(str(error)) from error
        self._main, self._state = self._standing.main, self._standing.state
        self._call_at = self._standing.call_at
        try:
            self._prepare()
        except BaseException:
            self.release()
            raise

    def _prepare(self) -> None:
        self._states = [thread.state() for thread in self._standing.threads]
        for thread, state in zip(self._standing.threads, self._states, strict=True):
            if not state.at_rest:
                raise CannotFork(f"thread {thread.tid} is not at rest")
        self._id_at = self._find_thread_id()
        try:
            for start, length in anatomy.kept_from_forks(self._pid):
                self._standing.call(_MADVISE, start, length, _MADV_DOFORK)
        finally:
            self._main.set_registers(self._state.registers)
        self._descriptors = list(anatomy.descriptors(self._pid))

    @property
    def threads(self) -> list[int]:
        """IDs of the threads that we hold."""
        return [thread.tid for thread in self._standing.threads]

    def release(self) -> None:
        """Let it go on."""
        self._standing.release()

    def fork(
        self,
        confinement: Confinement,
        replacements: Sequence[Replacement],
        shared: Sequence[tuple[int, int]],
        born: Callable[[int], None],
    ) -> None:
        """Make a fork and let it run; its parent is the template's parent.

        ``replacements`` take the place of the template's descriptors; ``shared`` names, by device
        and inode, files that it may have in common with it. ``born`` is called with its ID as soon
        as there is one. On failure the fork is killed; its parent has to collect it. Raises
        CannotFork, OSError, TraceError.
        """
        plan = self._plan(replacements, shared)
        child = self._clone()
        try:
            born(child.tid)
            with _Fork(child, self._call_at) as fork:
                fork.take(replacements)
                for one in plan:
                    fork.renew(one)
                fork.confine(confinement)
                threads = [
                    fork.start_thread(state, self._thread_id_of(state))
                    for state in self._states[1:]
                ]
                fork.register_locks(self._state)
            child.restore(self._state)
            for thread in threads:
                thread.detach()
            child.detach()
        except BaseException:
            with suppress(ProcessLookupError):
                os.kill(child.tid, signal.SIGKILL)
            raise

    def _plan(
        self, replacements: Sequence[Replacement], shared: Sequence[tuple[int, int]]
    ) -> list[Descriptor]:
        """Return the descriptors that are made anew; the rest is replaced, or may be shared."""
        replaced = {number for one in replacements for number in one.numbers}
        plan = []
        for one in self._descriptors:
            if one.number in replaced or one.identity in shared:
                continue
            if one.target not in _RENEWED:
                raise CannotFork(f"descriptor {one.number} ({one.target}) would be its template's")
            plan.append(one)
        return plan

    def _clone(self) -> Thread:
        flags = _PARENT | _CHILD_SETTID | _CHILD_CLEARTID | signal.SIGCHLD
        at = self._thread_id_of(self._state)
        self._main.begin(self._call_at, _CLONE, (flags, 0, 0, at, 0))
        stopped, event = self._main.wait()
        if event != ptrace.EVENT_FORK:
            error = f"signal {stopped}"
            if not event and stopped == signal.SIGTRAP:
                error = os.strerror(-ctypes.c_int64(self._main.registers()[ptrace.RAX]).value)
            self._main.set_registers(self._state.registers)
            raise CannotFork(f"the kernel makes no copy of it: {error}")
        child = Thread(self._main.event_message())
        child.wait()
        self._main.step()
        self._main.wait()
        self._main.set_registers(self._state.registers)
        return child

    def _thread_id_of(self, state: ThreadState) -> int:
        return int(state.registers[ptrace.FS_BASE]) + self._id_at

    def _find_thread_id(self) -> int:
        """Return at which distance from its thread pointer every thread has its own ID."""
        places: set[int] | None = None
        for thread, state in zip(self._standing.threads, self._states, strict=True):
            block = self._standing.read(state.registers[ptrace.FS_BASE], _THREAD_DESCRIPTOR_BYTES)
            here = {
                place * 4
                for place, (value,) in enumerate(struct.iter_unpack("=i", block))
                if value == thread.tid
            }
            places = here if places is None else places & here
        if not places or len(places) > 1:
            raise CannotFork("it can't be told where its C library keeps a thread's ID")
        return places.pop()


class _Fork:
    """A fork that hasn't run yet, all its system calls still ours."""

    def __init__(self, main: Thread, call_at: int) -> None:
        self._main = main
        self._call_at = call_at

    def __enter__(self) -> "_Fork":
        self._memory = os.open(f"/proc/{self._main.tid}/mem", os.O_RDWR | os.O_CLOEXEC)
        self._scratch = self.call(
            _MMAP, 0, _SCRATCH_BYTES, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        os.close(self._memory)
        if kind is None:
            self.call(_MUNMAP, self._scratch, _SCRATCH_BYTES)

    def call(self, number: int, *arguments: int) -> int:
        """Have it make a system call."""
        return self._main.syscall(self._call_at, number, arguments)

    def take(self, replacements: Sequence[Replacement]) -> None:
        """Hand descriptors over a socket pair of its own, and give them their numbers."""
        self._write(self._scratch, bytes(8))
        self.call(_SOCKETPAIR, socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, self._scratch)
        near, far = struct.unpack("=ii", os.pread(self._memory, 8, self._scratch))
        with socket.socket(fileno=_descriptor_of(self._main.tid, far)) as channel:
            socket.send_fds(channel, [b"\0"], [one.descriptor for one in replacements])
            given = self._receive(near, len(replacements))
        for one, descriptor in zip(replacements, given, strict=True):
            for number in one.numbers:
                self.call(_DUP3, descriptor, number, os.O_CLOEXEC)
            self.call(_CLOSE, descriptor)
        self.call(_CLOSE, near)
        self.call(_CLOSE, far)

    def _receive(self, channel: int, count: int) -> Sequence[int]:
        """Have it receive descriptors; return their numbers. Source: recvmsg(2), cmsg(3)."""
        header, vector, data, control = (self._scratch + place for place in (0, 64, 96, 128))
        room = socket.CMSG_SPACE(4 * count)
        message = struct.pack("=QIIQQQQi", 0, 0, 0, vector, 1, control, room, 0)
        self._write(header, message)
        self._write(vector, struct.pack("=QQ", data, 1))
        self.call(_RECVMSG, channel, header, socket.MSG_CMSG_CLOEXEC)
        body = os.pread(self._memory, room, control)
        length, level, kind = struct.unpack_from("=Qii", body)
        if (length, level, kind) != (
            socket.CMSG_LEN(4 * count),
            socket.SOL_SOCKET,
            socket.SCM_RIGHTS,
        ):
            raise TraceError("the fork did not get its descriptors")
        return struct.unpack_from(f"={count}i", body, 16)

    def renew(self, one: Descriptor) -> None:
        """Give it a descriptor of its own in place of one that the template has made."""
        made = _RENEWED[one.target](self, one)
        self.call(_DUP3, made, one.number, one.flags & os.O_CLOEXEC)
        self.call(_CLOSE, made)

    def new_event(self, one: Descriptor) -> int:
        """eventfd(2) with the template's count."""
        count = int(one.details["eventfd-count"][0], 16)
        semaphore = int(one.details.get("eventfd-semaphore", ["0"])[0])
        return self.call(_EVENTFD2, count, one.flags & os.O_NONBLOCK | semaphore)

    def new_signals(self, one: Descriptor) -> int:
        """signalfd(2) with the template's signals."""
        mask = int(one.details["sigmask"][0], 16)
        self._write(self._scratch, struct.pack("=Q", mask))
        flags = one.flags & os.O_NONBLOCK
        return self.call(_SIGNALFD4, -1, self._scratch, _SIGNAL_SET_BYTES, flags)

    def new_poll(self, one: Descriptor) -> int:
        """epoll(7) that watches what the template's does."""
        made = self.call(_EPOLL_CREATE1, 0)
        for line in one.details.get("tfd", ()):
            number, _, events, _, data, *_ = line.split()
            self._write(self._scratch, struct.pack("=IQ", int(events, 16), int(data, 16)))
            self.call(_EPOLL_CTL, made, _EPOLL_CTL_ADD, int(number), self._scratch)
        return made

    def confine(self, confinement: Confinement) -> None:
        """Make it a user who has nothing, alone in its namespaces, and keep it there."""
        self.call(_UNSHARE, _NEWNET | _NEWIPC)
        for capability in confinement.kept:
            self.call(_PRCTL, _PR_CAPBSET_DROP, capability, 0, 0, 0)
        self.call(_SETGROUPS, 0, 0)
        uid = confinement.uid
        self.call(_SETRESGID, uid, uid, uid)
        self.call(_SETRESUID, uid, uid, uid)
        self.call(_PRCTL, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        self._write(self._scratch, struct.pack("=Ii24x", _CAPABILITY_VERSION_3, 0))
        self.call(_CAPSET, self._scratch, self._scratch + 8)
        self.call(_PRCTL, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        program = powers.sandbox()
        self._write(self._scratch, struct.pack("=H6xQ", len(program) // 8, self._scratch + 16))
        self._write(self._scratch + 16, program)
        self.call(_SECCOMP, _SECCOMP_SET_MODE_FILTER, 0, self._scratch)

    def start_thread(self, state: ThreadState, id_at: int) -> Thread:
        """Start a thread that will stand where one of the template's does, and hold it."""
        registers = state.registers
        flags = _THREAD | _CHILD_SETTID | _CHILD_CLEARTID
        stack, pointer = registers[ptrace.RSP], registers[ptrace.FS_BASE]
        self._main.begin(self._call_at, _CLONE, (flags, stack, 0, id_at, pointer))
        stopped, event = self._main.wait()
        if event != ptrace.EVENT_CLONE:
            raise TraceError(f"no thread came to be: signal {stopped}, event {event}")
        thread = Thread(self._main.event_message())
        thread.wait()
        self._main.step()
        self._main.wait()
        _register(thread, state, self._call_at)
        thread.restore(state)
        return thread

    def register_locks(self, state: ThreadState) -> None:
        """Tell the kernel of the main thread's robust locks, which a fork forgets."""
        address, size = state.robust_list
        if address:
            self.call(_SET_ROBUST_LIST, address, size)

    def _write(self, address: int, data: bytes) -> None:
        os.pwrite(self._memory, data, address)


def _register(thread: Thread, state: ThreadState, call_at: int) -> None:
    """Tell the kernel what a thread's C library told it when the template's thread began."""
    address, size = state.robust_list
    if address:
        thread.syscall(call_at, _SET_ROBUST_LIST, (address, size))
    pointer, length, signature = state.sequences
    if pointer:
        thread.syscall(call_at, _RSEQ, (pointer, length, 0, signature))


_RENEWED: dict[str, Callable[[_Fork, Descriptor], int]] = {
    "anon_inode:[eventfd]": _Fork.new_event,
    "anon_inode:[signalfd]": _Fork.new_signals,
    "anon_inode:[eventpoll]": _Fork.new_poll,
}


def _descriptor_of(pid: int, number: int) -> int:
    """Return a copy of another process's descriptor. Source: pidfd_getfd(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        copy = libc.syscall(_PIDFD_GETFD, process, number, 0)
    finally:
        os.close(process)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return int(copy)
