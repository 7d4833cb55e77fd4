"""Processes named so that a recycled process ID is never taken for one of ours, and their ends."""

import asyncio
import ctypes
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SYS_PIDFD_GETFD = 438

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ExitStatus:
    """How a process ended; both are None where nobody of ours was there to see."""

    code: int | None = None
    signal: int | None = None


@dataclass(frozen=True)
class ProcessName:
    """A process ID, the moment its process began in clock ticks since boot, and that boot's ID."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "ProcessName":
        """Name a running process. Raises ProcessLookupError."""
        ticks = _start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(f"there is no process {pid}")
        return cls(pid, ticks, boot_id())

    @property
    def of_this_boot(self) -> bool:
        """Whether the host has not been started again since."""
        return self.boot_id == boot_id()

    def open(self) -> int | None:
        """Return a pidfd of this very process, or None when it has ended (zombies included)."""
        if not self.of_this_boot:
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # Only now can the ID not be recycled any more without our seeing it.
        if _start_ticks(self.pid) != self.start_ticks:
            os.close(descriptor)
            return None
        return descriptor


class WatchedProcess:
    """A running process, a child of ours or not, whose end calls back once."""

    def __init__(self, pidfd: int | None, on_exit: Callable[[ExitStatus], None]) -> None:
        """Take a pidfd over and watch it on the running event loop.

        None is a process whose end is known already: of that nobody is called back.
        """
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        if pidfd is None:
            self.ended.set()
        else:
            self._pidfd = pidfd
            self._loop.add_reader(pidfd, self._ended)

    def kill(self) -> None:
        """Send SIGKILL; nothing where it has ended."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def set_oom_score(self, name: ProcessName, score: int) -> None:
        """Tell the kernel how soon to end it when memory is short: 0 to 1000. Raises OSError."""
        if not self.ended.is_set():
            # It isn't collected yet: the number is still its own.
            Path(f"/proc/{name.pid}/oom_score_adj").write_text(str(score))

    def limit_files(self, name: ProcessName, size: int) -> None:
        """Let it write files of so many bytes. Raises OSError."""
        if not self.ended.is_set():
            # It isn't collected yet: the number is still its own.
            resource.prlimit(name.pid, resource.RLIMIT_FSIZE, (size, size))

    def program(self, name: ProcessName) -> tuple[int, int] | None:
        """Return device and inode of what it runs; None where it has ended."""
        if self.ended.is_set():
            return None
        try:
            status = os.stat(f"/proc/{name.pid}/exe")
        except OSError:
            return None  # a zombie has none
        return status.st_dev, status.st_ino

    def descriptor_of(self, number: int) -> int:
        """Return a copy of one of the process's descriptors (pidfd_getfd(2)). Raises OSError."""
        copy = _libc.syscall(_SYS_PIDFD_GETFD, self._pidfd, number, 0)
        if copy < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"pidfd_getfd: {os.strerror(error)}")
        return int(copy)

    def abandon(self) -> None:
        """Stop watching; the process goes on."""
        if not self.ended.is_set():
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self.ended.set()

    def _ended(self) -> None:
        status = _reap(self._pidfd)
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.ended.set()
        self._on_exit(status)


def boot_id() -> str:
    """Return the identity of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reap(pidfd: int) -> ExitStatus:
    """Collect the status of an ended child; another's child is its parent's to collect."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return ExitStatus()
    if result is None:
        return ExitStatus()
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status)


def _start_ticks(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat (proc(5)); None for a zombie, or where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
