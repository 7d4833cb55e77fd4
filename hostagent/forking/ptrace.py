"""ptrace(2) for x86-64: what it takes to have a process that stands still make system calls.

All calls for one tracee must come from the thread that seized it. Registers are in the order of
struct user_regs_struct of <sys/user.h>.
"""

import ctypes
import errno
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

# <sys/ptrace.h>
GETREGS = 12
SETREGS = 13
SINGLESTEP = 9
DETACH = 17
GETEVENTMSG = 0x4201
GETREGSET = 0x4204
SETREGSET = 0x4205
SETOPTIONS = 0x4200
SEIZE = 0x4206
INTERRUPT = 0x4207
GETSIGMASK = 0x420A
SETSIGMASK = 0x420B
GET_RSEQ_CONFIGURATION = 0x420F
O_TRACEFORK = 0x2
O_TRACECLONE = 0x8
O_EXITKILL = 0x100000
EVENT_FORK = 1
EVENT_CLONE = 3
# <elf.h>
NT_X86_XSTATE = 0x202
# Of waitpid(2): children of any kind, threads among them.
WALL = 0x40000000

SYSCALL_INSTRUCTION = b"\x0f\x05"
# Registers' places.
RAX, RDX, RSI, RDI, ORIG_RAX, RIP, RSP, FS_BASE = 10, 12, 13, 14, 15, 16, 19, 21
R10, R9, R8 = 7, 8, 9
_REGISTERS = 27
_ARGUMENTS = (RDI, RSI, RDX, R10, R8, R9)
# <linux/errno.h>, kernel's own: a system call that was interrupted and begins anew.
_RESTARTS = (512, 513, 514, 516)
_NONE = (1 << 64) - 1
_LARGEST_XSTATE = 16384
_GET_ROBUST_LIST = 274
# Whether a thread has stopped nothing tells but a look: it takes some 50 us. In seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 2e-3

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

Registers = ctypes.c_uint64 * _REGISTERS


class TraceError(Exception):
    """A tracee did what it shouldn't."""


class Ended(TraceError):
    """A tracee has ended, or is about to."""


class StillRuns(TraceError):
    """A tracee did not stop in time."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _RestartableSequences(ctypes.Structure):
    _fields_ = (
        ("pointer", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("signature", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class ThreadState:
    """All of a thread that isn't memory."""

    registers: "ctypes.Array[ctypes.c_uint64]"
    extended: bytes
    """The XSAVE area."""
    signal_mask: int
    robust_list: tuple[int, int]
    """Where its list of robust locks is, and its size. Source: get_robust_list(2)."""
    sequences: tuple[int, int, int]
    """Where its restartable sequence is, its size and signature; zeros for none: rseq(2)."""

    @property
    def at_rest(self) -> bool:
        """Whether it waits in a system call that can be made again as if nothing had been."""
        registers = self.registers
        waits = -ctypes.c_int64(registers[RAX]).value in _RESTARTS
        return registers[ORIG_RAX] != _NONE and waits


def call(request: int, tid: int, address: int = 0, data: object = 0) -> int:
    """ptrace(2). Raises OSError."""
    result = _libc.ptrace(request, tid, address, data)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request:#x} of {tid}: {os.strerror(number)}")
    return int(result)


class Thread:
    """A thread that is ours to command whenever it is stopped."""

    def __init__(self, tid: int) -> None:
        self.tid = tid

    def wait(self, seconds: float | None = None) -> tuple[int, int]:
        """Wait until it stops; return the signal and the event (0 for none).

        Without a bound as long as it takes. The end of the main thread is then seen when somebody
        has collected all others. Raises TraceError (Ended where it has ended, StillRuns where it
        did not stop in time).
        """
        if seconds is None:
            _, status = os.waitpid(self.tid, WALL)
        else:
            status = self._status_within(seconds)
        if not os.WIFSTOPPED(status):
            raise Ended(f"thread {self.tid} ended with status {status:#x}")
        return os.WSTOPSIG(status), status >> 16

    def _status_within(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            found, status = os.waitpid(self.tid, WALL | os.WNOHANG)
            if found:
                return status
            if _has_ended(self.tid):
                raise Ended(f"thread {self.tid} has ended")
            if time.monotonic() > deadline:
                raise StillRuns(f"thread {self.tid} does not stop")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def registers(self) -> "ctypes.Array[ctypes.c_uint64]":
        """Return the registers."""
        registers = Registers()
        call(GETREGS, self.tid, 0, ctypes.addressof(registers))
        return registers

    def set_registers(self, registers: "ctypes.Array[ctypes.c_uint64]") -> None:
        """Set them."""
        call(SETREGS, self.tid, 0, ctypes.addressof(registers))

    def state(self) -> ThreadState:
        """Return all that :meth:`restore` needs."""
        area = ctypes.create_string_buffer(_LARGEST_XSTATE)
        vector = _Vector(ctypes.addressof(area), _LARGEST_XSTATE)
        call(GETREGSET, self.tid, NT_X86_XSTATE, ctypes.addressof(vector))
        mask = ctypes.c_uint64()
        call(GETSIGMASK, self.tid, 8, ctypes.addressof(mask))
        head, size = ctypes.c_uint64(), ctypes.c_size_t()
        if _libc.syscall(_GET_ROBUST_LIST, self.tid, ctypes.byref(head), ctypes.byref(size)):
            raise OSError(ctypes.get_errno(), "get_robust_list")
        return ThreadState(
            self.registers(),
            area.raw[: vector.length],
            mask.value,
            (head.value, size.value),
            self._sequences(),
        )

    def _sequences(self) -> tuple[int, int, int]:
        found = _RestartableSequences()
        size = ctypes.sizeof(found)
        try:
            call(GET_RSEQ_CONFIGURATION, self.tid, size, ctypes.addressof(found))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return 0, 0, 0  # a kernel that doesn't have them, and so no thread does
        return found.pointer, found.size, found.signature

    def restore(self, state: ThreadState) -> None:
        """Make this thread go on where another stood; in a system call, it calls it again."""
        area = ctypes.create_string_buffer(state.extended, len(state.extended))
        vector = _Vector(ctypes.addressof(area), len(state.extended))
        call(SETREGSET, self.tid, NT_X86_XSTATE, ctypes.addressof(vector))
        mask = ctypes.c_uint64(state.signal_mask)
        call(SETSIGMASK, self.tid, 8, ctypes.addressof(mask))
        self.set_registers(_resumed(state.registers))

    def event_message(self) -> int:
        """Return the new thread's or process's ID after an event that made one."""
        value = ctypes.c_ulong()
        call(GETEVENTMSG, self.tid, 0, ctypes.addressof(value))
        return value.value

    def step(self) -> None:
        """Let it make one instruction."""
        call(SINGLESTEP, self.tid)

    def set_options(self, options: int) -> None:
        """Set what :func:`seize` set."""
        call(SETOPTIONS, self.tid, 0, options)

    def detach(self) -> None:
        """Let it go on by itself."""
        call(DETACH, self.tid)

    def syscall(self, at: int, number: int, arguments: Sequence[int]) -> int:
        """Have it call the kernel with the instruction at ``at``; return what that returned.

        Its registers are not what they were afterwards. Raises OSError with the call's own error.
        """
        self.begin(at, number, arguments)
        signalled, event = self.wait()
        if signalled != signal.SIGTRAP or event:
            raise TraceError(f"thread {self.tid}: signal {signalled}, event {event} in a call")
        return self.result(number)

    def begin(self, at: int, number: int, arguments: Sequence[int]) -> None:
        """Begin a system call; the thread stops when it has been made, and at events before."""
        registers = self.registers()
        registers[RAX] = number
        registers[ORIG_RAX] = _NONE
        registers[RIP] = at
        for place, value in zip(_ARGUMENTS, arguments, strict=False):
            registers[place] = value & _NONE
        self.set_registers(registers)
        call(SINGLESTEP, self.tid)

    def result(self, number: int) -> int:
        """Return what a call that has been made returned. Raises OSError."""
        value = ctypes.c_int64(self.registers()[RAX]).value
        if -4096 < value < 0:
            raise OSError(-value, f"system call {number} of {self.tid}: {os.strerror(-value)}")
        return value


def _resumed(registers: "ctypes.Array[ctypes.c_uint64]") -> "ctypes.Array[ctypes.c_uint64]":
    """Return registers with which an interrupted system call is made again."""
    copy = Registers(*registers)
    if copy[ORIG_RAX] != _NONE and -ctypes.c_int64(copy[RAX]).value in _RESTARTS:
        copy[RAX] = copy[ORIG_RAX]
        copy[RIP] -= len(SYSCALL_INSTRUCTION)
    copy[ORIG_RAX] = _NONE
    return copy


def seize(tid: int, options: int) -> Thread:
    """Take a thread, and have it stop, for which it is to be waited. Raises OSError."""
    call(SEIZE, tid, 0, options)
    call(INTERRUPT, tid)
    return Thread(tid)


def _has_ended(tid: int) -> bool:
    try:
        with open(f"/proc/{tid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True
