"""A process that stands still under ptrace(2), its main thread ready to make calls for us."""

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from hostagent.forking import anatomy, ptrace
from hostagent.forking.ptrace import Thread, TraceError

# To stop takes threads some 100 us; on a busy host, or where one waits for a disk, more.
STOP_SECONDS = 10.0


class CannotStand(Exception):
    """A process can't be held still, and why; nothing of it was changed."""


class NotAtRest(CannotStand):
    """A process can't be made to call the kernel now; it may be later."""


class Standing:
    """A process whose threads all stand still until it is released.

    Ours is the thread that made this. If it ends before, so does the process; and whatever could
    not be let go, as it had been killed or had not yet come to stand, the kernel lets go then.
    """

    def __init__(self, pid: int, options: int = 0, seconds: float = STOP_SECONDS) -> None:
        """Take it, within so many seconds. Raises CannotStand (NotAtRest); it goes on then."""
        self.pid = pid
        self.threads: list[Thread] = []
        try:
            self._stop(options, time.monotonic() + seconds)
            if anatomy.thread_ids(pid) != [thread.tid for thread in self.threads]:
                raise NotAtRest("it made a thread meanwhile, or ended one")
            self.main = self.threads[0]
            self.state = self.main.state()
            if not self.state.at_rest:
                raise NotAtRest(f"thread {pid} is not at rest")
            # The main thread waits in a system call, so just behind one's instruction.
            self.call_at = self.state.registers[ptrace.RIP] - len(ptrace.SYSCALL_INSTRUCTION)
            if self.read(self.call_at, 2) != ptrace.SYSCALL_INSTRUCTION:
                raise NotAtRest("its main thread waits in no system call of x86-64")
            # It ends with us from here on, where it may be made to do what is not its own.
            self.main.set_options(options | ptrace.O_EXITKILL)
        except (OSError, TraceError) as error:
            self.release()
            raise CannotStand(f"process {pid}: {error}") from error
        except BaseException:
            self.release()
            raise

    def _stop(self, options: int, deadline: float) -> None:
        try:
            for tid in anatomy.thread_ids(self.pid):
                self.threads.append(ptrace.seize(tid, options))
            for thread in self.threads:
                thread.wait(max(0.0, deadline - time.monotonic()))
        except (ProcessLookupError, ptrace.Ended) as error:
            raise NotAtRest(f"one of its threads has ended: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Let it go on as if nothing had been: it makes the call again in which it waited."""
        with suppress(ProcessLookupError):
            self.main.restore(self.state)
        self.release()

    def call(self, number: int, *arguments: int) -> int:
        """Have it make a system call. Raises OSError, TraceError."""
        return self.main.syscall(self.call_at, number, arguments)

    def read(self, address: int, length: int) -> bytes:
        """Return some of its memory."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(length)

    def release(self) -> None:
        """Let it go on from where its registers are."""
        for thread in self.threads:
            with suppress(ProcessLookupError):
                thread.detach()
        self.threads.clear()
