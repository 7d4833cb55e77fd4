"""The agent's side of a template: starts its forker, and orders forks."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostagent.forking import server
from hostagent.processes import ExitStatus, ProcessName, WatchedProcess
from portlayer.errors import Internal, Reason

# To stop a handful of threads takes a millisecond, to fork ten; on a busy host, more.
SEIZE_SECONDS = 30.0
FORK_SECONDS = 30.0
_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class ForkOrder:
    """What a fork has for itself."""

    uid: int
    kept: Sequence[int]
    """Capabilities that the template has, which the fork loses."""
    replacements: Mapping[int, Sequence[int]]
    """Our descriptors, each with the numbers that it gets in the fork."""
    shared: Sequence[tuple[int, int]]
    """Device and inode of files that it may have in common with the template."""


class Fork:
    """A process that was forked of a template; it is the agent's own child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._on_exit: Callable[[ExitStatus], None] | None = None
        self._status: ExitStatus | None = None
        self.process = WatchedProcess(os.pidfd_open(pid), self._ended)

    @property
    def name(self) -> ProcessName:
        """What names it for good. Raises ProcessLookupError where it has ended."""
        if self.process.ended.is_set():
            raise ProcessLookupError(f"the fork {self.pid} has ended")
        # It isn't collected yet: the number is still its own.
        return ProcessName.of(self.pid)

    def watch(self, on_exit: Callable[[ExitStatus], None]) -> None:
        """Have its end told to someone, also where it has come already."""
        self._on_exit = on_exit
        if self._status is not None:
            on_exit(self._status)

    async def end(self) -> None:
        """End it, tell nobody, and wait until it is gone. Idempotent."""
        self._on_exit = None
        self.process.kill()
        await self.process.ended.wait()

    def _ended(self, status: ExitStatus) -> None:
        self._status = status
        if self._on_exit is not None:
            self._on_exit(status)


class Forker:
    """Holds a template, which stands still from now on and ends with this."""

    def __init__(self, template_pid: int) -> None:
        """Start the process. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-m", server.__name__, str(template_pid)],
                    {"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), server.CHANNEL),
                    ],
                )
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)
        self._channel = ours
        self._turn = asyncio.Lock()
        self._process = WatchedProcess(os.pidfd_open(pid), lambda _status: None)

    async def seized(self) -> None:
        """Wait until it holds the template. Raises Internal (LAUNCH_FAILED)."""
        answer = await self._answer(SEIZE_SECONDS)
        if answer != server.READY:
            raise _failed(answer)

    async def fork(self, order: ForkOrder) -> Fork:
        """Fork the template. Raises Internal (LAUNCH_FAILED); nothing of a fork is left then."""
        numbers = [list(numbers) for numbers in order.replacements.values()]
        message = server.encode_order(order.uid, list(order.kept), numbers, list(order.shared))
        async with self._turn:
            try:
                socket.send_fds(self._channel, [message], list(order.replacements))
            except OSError as error:
                raise _failed(str(error).encode()) from error
            answer = await self._answer(FORK_SECONDS)
            if not answer.isdigit():
                raise _failed(answer)
            try:
                fork = Fork(int(answer))
            except BaseException:
                # Its second answer would be taken for the next order's first.
                self._process.kill()
                raise
            try:
                answer = await self._answer(FORK_SECONDS)
                if answer != server.READY:
                    raise _failed(answer)
            except BaseException:
                await fork.end()
                raise
            return fork

    async def end(self) -> None:
        """Let go of the template, which ends. Idempotent."""
        self._channel.close()
        self._process.kill()
        await self._process.ended.wait()

    async def _answer(self, seconds: float) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                return await loop.sock_recv(self._channel, 4096) or b"the forker has ended"
        except TimeoutError:
            # What it does now can't be known: it ends, with the template and what it was making.
            self._process.kill()
            return b"it took too long"
        except OSError as error:
            return str(error).encode()


def _failed(why: bytes) -> Internal:
    text = why.decode("utf-8", "replace")
    return Internal(f"the template could not be forked: {text}", Reason.LAUNCH_FAILED)
