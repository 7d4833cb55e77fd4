"""Processes that are ready to become QEMU, and the order that makes one of them do it.

See :mod:`hostagent.confine` for what such a process does, and why it isn't made by fork: the agent
has gRPC's threads.
"""

import asyncio
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostagent import confine
from hostagent.cgroups import MachineGroups
from hostagent.processes import ExitStatus, ProcessName, WatchedProcess
from hostagent.users import MachineUsers
from portlayer.errors import Internal, Reason

log = logging.getLogger("vic.launchpad")

# Making one takes some 30 ms; a host so busy that it takes this long can't run a machine either.
PREPARE_SECONDS = 30.0
ORDER_SECONDS = 30.0


@dataclass(frozen=True)
class Order:
    """What a ready process becomes."""

    argv: Sequence[str]
    descriptors: Sequence[int]
    """They get numbers from 3 on, in this order; the first becomes standard output as well."""
    idle_nics: int
    """NICs connected to nothing, whose descriptors follow."""
    limits: dict[str, int]
    """Resource limits by name, "CORE": 0."""
    kept: Sequence[int] = ()
    """Capabilities that it keeps, by number."""
    users: range = range(0)
    """Over which users and groups alone it has them."""


@dataclass(frozen=True)
class Seat:
    """What one machine's process runs as, and in."""

    uid: int
    group: str
    """Name of its cgroup."""


class Launcher:
    """A process that waits, in empty namespaces and a group of its own, to become QEMU."""

    def __init__(self, uid: int, group: str, command: list[str]) -> None:
        """Start it. ``uid`` and ``group`` are what it will be run with. Raises OSError."""
        self.uid = uid
        self.group = group
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, confine.LONGEST_ORDER)
        with theirs:
            self.pid = os.posix_spawn(
                command[0],
                command,
                {},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), confine.CHANNEL),
                ],
                setsid=True,
            )
        ours.setblocking(False)
        self._channel = ours
        self._on_exit: Callable[[ExitStatus], None] = _nobody
        self._status: ExitStatus | None = None
        self.process = WatchedProcess(os.pidfd_open(self.pid), self._ended)
        self.name = ProcessName.of(self.pid)

    async def prepared(self) -> None:
        """Wait until it has made its place. Raises Internal (LAUNCH_FAILED)."""
        answer = await self._answer(PREPARE_SECONDS)
        if answer != b"ready":
            raise _failed(answer or b"it ended before it was ready")

    async def become(self, order: Order) -> None:
        """Send the order and wait for the exec. Raises Internal (LAUNCH_FAILED)."""
        message = confine.encode(
            self.uid,
            order.idle_nics,
            order.limits,
            order.kept,
            (order.users.start, len(order.users)),
            list(order.argv),
        )
        socket.send_fds(self._channel, [message], list(order.descriptors))
        answer = await self._answer(ORDER_SECONDS)
        if answer or self.process.ended.is_set():
            raise _failed(answer or b"it ended on the way")
        self._channel.close()

    def watch(self, on_exit: Callable[[ExitStatus], None]) -> None:
        """Have its end told to someone, also where it has come already."""
        self._on_exit = on_exit
        if self._status is not None:
            on_exit(self._status)

    async def end(self) -> None:
        """End it, whatever it has become, and wait until it is gone. Calls nobody. Idempotent."""
        self._channel.close()
        self._on_exit = _nobody
        self.process.kill()
        await self.process.ended.wait()

    async def _answer(self, seconds: float) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                return await loop.sock_recv(self._channel, 4096)
        except TimeoutError:
            return b"it took too long"
        except ConnectionError:
            return b""

    def _ended(self, status: ExitStatus) -> None:
        self._status = status
        self._on_exit(status)


class Launchpad:
    """Keeps launchers ready, so that a launch waits for no preparation."""

    def __init__(
        self,
        root: Path,
        devices: Sequence[str],
        users: MachineUsers,
        groups: MachineGroups,
        ready: int,
    ) -> None:
        """``root`` is an empty directory that launchers mount their own root over, unseen."""
        self._command = [sys.executable, *confine.PROGRAM, str(root), *devices]
        self._users = users
        self._groups = groups
        self._wanted = ready
        self._ready: deque[Launcher] = deque()
        self._changed = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Let :meth:`keep_ready` come to its end."""
        self._stopping = True
        self._changed.set()

    async def take(self) -> Launcher:
        """Return a prepared launcher, the caller's from now on. Raises Internal (LAUNCH_FAILED)."""
        while self._ready:
            launcher = self._ready.popleft()
            self._changed.set()
            if not launcher.process.ended.is_set():
                return launcher
            await self.discard(launcher)
        return await self._prepare()

    async def keep_ready(self) -> None:
        """Fill up whenever one was taken, until stopped; then end those that are left."""
        try:
            while not self._stopping:
                self._changed.clear()
                try:
                    while len(self._ready) < self._wanted and not self._stopping:
                        self._ready.append(await self._prepare())
                except Internal as error:
                    # The next launch tries itself, and its caller is told.
                    log.warning("no launcher is ready: %s", error)
                if not self._stopping:
                    await self._changed.wait()
        finally:
            while self._ready:
                await self.discard(self._ready.popleft())

    async def discard(self, launcher: Launcher) -> None:
        """End a launcher, whatever it has become, with all that it was given."""
        await launcher.end()
        self._give_back(launcher.uid, launcher.group)

    def claim(self) -> Seat:
        """Return a user and a group that are nobody's. Raises Internal (LAUNCH_FAILED)."""
        uid = self._users.take()
        seat = Seat(uid, group_of(uid))
        try:
            self._groups.create(seat.group)
        except OSError as error:
            self.release(seat)
            raise _failed(str(error).encode()) from error
        return seat

    def release(self, seat: Seat) -> None:
        """Take back what was claimed, when no process has it any more."""
        self._give_back(seat.uid, seat.group)

    async def _prepare(self) -> Launcher:
        seat = self.claim()
        group = seat.group
        try:
            launcher = Launcher(seat.uid, group, self._command)
        except OSError as error:
            self.release(seat)
            raise _failed(str(error).encode()) from error
        try:
            # Takes some 10 ms (the kernel waits for all CPUs), hence ahead of demand and elsewhere.
            await asyncio.to_thread(self._groups.add, group, launcher.pid)
            await launcher.prepared()
        except OSError as error:
            await self.discard(launcher)
            raise _failed(str(error).encode()) from error
        except BaseException:
            await self.discard(launcher)
            raise
        return launcher

    def _give_back(self, uid: int, group: str) -> None:
        try:
            self._groups.remove(group)
        except OSError as error:
            # The next agent's sweep finds it again.
            log.warning("cgroup %s is left: %s", group, error)
        self._users.release(uid)


def group_of(uid: int) -> str:
    """Return the name of the cgroup of the machine that runs as a user."""
    return f"vm-{uid}"


def _nobody(_: ExitStatus) -> None:
    """Take no interest in an exit."""


def _failed(why: bytes) -> Internal:
    text = why.decode("utf-8", "replace")
    return Internal(f"the machine's process could not be started: {text}", Reason.LAUNCH_FAILED)
