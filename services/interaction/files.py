"""Work on the files of containers: processes of a tether's own, on a process's streams.

So the tar has the flow control of any other output and input, and what nobody reads waits in the
VM: the container's own, or one that exec forks onto its disk.
"""

import asyncio
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from vic.exec.v1 import exec_pb2
from vic.interaction.v1 import interaction_pb2
from vic.tether.v1 import process_pb2, tether_pb2

from portlayer.errors import (
    Internal,
    ResourceExhausted,
    VicError,
)
from services.interaction.attach import Read, feed_all
from services.interaction.execs import LAUNCH_SECONDS
from services.interaction.filework import LONGEST_CHANGE, Output, Send, Work, changed
from services.interaction.holding import Holder, Reached
from services.interaction.launch import Launcher
from services.interaction.output import Stream
from services.interaction.processes import FILES, Process
from services.interaction.race import until_first
from services.interaction.sessions import Session

log = logging.getLogger("vic.interaction.files")

Begin = Callable[[interaction_pb2.PathStat], Awaitable[None]]
"""Takes what a path is, before its first byte."""
SendChanges = Callable[[list[interaction_pb2.Change]], Awaitable[None]]
"""Takes some of what differs from the image."""

# Each is a process in the VM, with a stream of its tether.
_MOST_AT_ONCE: Final = 64


class Files:
    """Describes, reads, writes and compares files of containers."""

    def __init__(self, launcher: Launcher, holder: Holder) -> None:
        self._launcher = launcher
        self._holder = holder
        # The event loop itself keeps no task alive.
        self._ending: set[asyncio.Task[None]] = set()

    async def stat(self, session: Session, path: str) -> interaction_pb2.PathStat:
        """Describe a path. Raises as the contract says."""
        task = process_pb2.FileTask(stat=process_pb2.FileStat(path=path))
        found = interaction_pb2.PathStat()

        async def describe(attempt: _Attempt) -> None:
            async with self._working(session, attempt, task) as work:
                output = Output(work)
                await output.description()
                await output.rest(_drop)
                found.CopyFrom(output.stat)

        await self._reach(session, exec_pb2.VOLUME_REACH_READ, describe)
        return found

    async def get(
        self, session: Session, wanted: process_pb2.FileRead, begin: Begin, send: Send
    ) -> None:
        """Send a path as tar. Raises as the contract says, also after the first bytes."""
        volumes = exec_pb2.VOLUME_REACH_READ
        if wanted.export:
            # What is mounted is left out.
            volumes = exec_pb2.VOLUME_REACH_UNSPECIFIED

        async def read(attempt: _Attempt) -> None:
            await self._read(session, attempt, process_pb2.FileTask(read=wanted), begin, send)

        await self._reach(session, volumes, read)

    async def put(self, session: Session, write: process_pb2.FileWrite, read: Read) -> None:
        """Unpack a tar. Raises as the contract says."""

        async def confirm() -> None:
            """Nobody waits for it."""

        async def unpack(attempt: _Attempt) -> None:
            # Nothing mounts the root of a utility VM as the container's, and its end may be sudden.
            reached = attempt.reached
            write.root_read_only, write.sync = reached.root_read_only, reached.utility
            task = process_pb2.FileTask(write=write)
            async with self._working(session, attempt, task) as work:
                await work.begun()
                # What is read of the client's is not read again.
                attempt.begun = True
                await until_first(
                    Output(work).rest(_drop), feed_all(work.process, read, confirm, tty=False)
                )

        await self._reach(session, exec_pb2.VOLUME_REACH_WRITE, unpack)

    async def changes(self, session: Session, send: SendChanges) -> None:
        """Send what differs from the image. Raises as the contract says."""
        left = b""

        async def begin(stat: interaction_pb2.PathStat) -> None:
            """Nothing is wanted of it."""

        async def take(data: bytes) -> None:
            nonlocal left
            *told, left = (left + data).split(b"\0")
            if len(left) > LONGEST_CHANGE:
                raise Internal("the agent in the VM names a path without end")
            if told:
                await send([changed(text) for text in told])

        async def compare(attempt: _Attempt) -> None:
            changes = process_pb2.FileChanges(image_lun=attempt.reached.image_lun)
            task = process_pb2.FileTask(changes=changes)
            await self._read(session, attempt, task, begin, take)

        await self._reach(session, exec_pb2.VOLUME_REACH_UNSPECIFIED, compare, image=True)

    async def layer(
        self, session: Session, begin: Callable[[], Awaitable[None]], send: Send, *, freeze: bool
    ) -> None:
        """Send what differs from the image as a layer. Raises as the contract says."""

        async def begun(stat: interaction_pb2.PathStat) -> None:
            await begin()

        async def compare(attempt: _Attempt) -> None:
            reached = attempt.reached
            layer = process_pb2.FileLayer(
                image_lun=reached.image_lun, freeze=freeze and not reached.utility
            )
            task = process_pb2.FileTask(layer=layer)
            await self._read(session, attempt, task, begun, send)

        await self._reach(session, exec_pb2.VOLUME_REACH_UNSPECIFIED, compare, image=True)

    async def _reach(
        self,
        session: Session,
        volumes: exec_pb2.VolumeReach,
        work: "Callable[[_Attempt], Coroutine[Any, Any, None]]",
        *,
        image: bool = False,
    ) -> None:
        """Do work where the container's files are, for as long as they can be reached there.

        A container that ends before the work has begun in its VM is reached as one that has.
        """
        attempt = _Attempt(Reached(session.boot_id))
        try:
            if session.running and not image:
                await work(attempt)
            else:
                await self._held(session, volumes, work, attempt, image=image)
        except VicError as error:
            # Where exec itself refused, or the work had begun, there is nothing to begin anew.
            boot_id = attempt.reached.boot_id
            goes_on = session.running and session.boot_id == boot_id
            if not boot_id or attempt.begun or attempt.reached.utility or goes_on:
                raise
            log.info("%s has ended meanwhile: %s", session.container_id, error.message)
        else:
            return
        again = _Attempt(Reached(""))
        await self._held(session, volumes, work, again, image=image, ended_boot_id=boot_id)

    async def _held(
        self,
        session: Session,
        volumes: exec_pb2.VolumeReach,
        work: "Callable[[_Attempt], Coroutine[Any, Any, None]]",
        attempt: "_Attempt",
        *,
        image: bool,
        ended_boot_id: str = "",
    ) -> None:
        """Do work where exec says that the files are."""
        attempt.reached = Reached("")
        held = self._holder.held(
            session.container_id, volumes, image=image, ended_boot_id=ended_boot_id
        )
        async with held as reach:
            attempt.reached = reach.reached
            await until_first(work(attempt), reach.lost())

    async def _read(
        self,
        session: Session,
        attempt: "_Attempt",
        task: process_pb2.FileTask,
        begin: Begin,
        send: Send,
    ) -> None:
        async with self._working(session, attempt, task) as work:
            output = Output(work)
            await output.description()
            attempt.begun = True
            await begin(output.stat)
            await output.rest(send)

    @asynccontextmanager
    async def _working(
        self, session: Session, attempt: "_Attempt", task: process_pb2.FileTask
    ) -> AsyncIterator[Work]:
        """Yield the work as it begins. However this ends, nothing of it is left."""
        busy = sum(process.transient for process in session.processes.values())
        if busy >= _MOST_AT_ONCE:
            raise ResourceExhausted(f"more than {_MOST_AT_ONCE} copies of one container at once")
        process = session.prepare(attempt.reached.boot_id, FILES + secrets.token_hex(32))
        queue = process.streams.subscribe(frozenset(Stream))
        spec = process_pb2.ProcessSpec(files=task, stdin=task.HasField("write"))
        command = tether_pb2.LaunchCommand(process_id=process.process_id, process=spec)
        launching = asyncio.ensure_future(
            self._launcher.launch(session, process.boot_id, command, LAUNCH_SECONDS)
        )
        try:
            yield Work(session, process, queue, launching)
        finally:
            process.streams.unsubscribe(queue)
            ending = asyncio.create_task(self._end(session, process, launching))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _end(
        self, session: Session, process: Process, launching: "asyncio.Future[Any]"
    ) -> None:
        """See to it that the process ends, also one that is only being started."""
        try:
            with suppress(VicError):
                await launching
                if process.running:
                    await self._launcher.signal(session, process.process_id, signal.SIGKILL)
        finally:
            session.drop(process)


@dataclass
class _Attempt:
    """Work in one place, and whether it has come so far that it can't be begun anew elsewhere."""

    reached: Reached
    begun: bool = False


async def _drop(data: bytes) -> None:
    """Nothing is wanted of it."""
