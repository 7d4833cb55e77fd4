"""A process that stands still under ptrace(2), its main thread ready to make calls for us."""

from contextlib import suppress
from types import TracebackType
from typing import Self

from hostagent.forking import anatomy, ptrace
from hostagent.forking.ptrace import Thread


class NotAtRest(Exception):
    """A process can't be made to call the kernel now, and why; it may be later."""


class Standing:
    """A process whose threads all stand still until it is released; with us it ends."""

    def __init__(self, pid: int, options: int = 0) -> None:
        """Take it; it goes on where that fails. Raises NotAtRest, OSError, TraceError."""
        self.pid = pid
        self.threads: list[Thread] = []
        try:
            for tid in anatomy.thread_ids(pid):
                self.threads.append(ptrace.seize(tid, options | ptrace.O_EXITKILL))
            if anatomy.thread_ids(pid) != [thread.tid for thread in self.threads]:
                raise NotAtRest("it made a thread meanwhile")
            self.main = self.threads[0]
            self.state = self.main.state()
            if not self.state.at_rest:
                raise NotAtRest(f"thread {pid} is not at rest")
            # The main thread waits in a system call, so just behind one's instruction.
            self.call_at = self.state.registers[ptrace.RIP] - len(ptrace.SYSCALL_INSTRUCTION)
            if self.read(self.call_at, 2) != ptrace.SYSCALL_INSTRUCTION:
                raise NotAtRest("its main thread waits in no system call of x86-64")
        except BaseException:
            self.release()
            raise

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
