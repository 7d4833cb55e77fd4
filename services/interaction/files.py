"""Work on the files of containers: processes of a tether's own, on a process's streams.

So the tar has the flow control of any other output and input, and what nobody reads waits in the
VM: the container's own, or one that exec forks onto its disk. What comes from there is not trusted:
a description is checked before anybody sees it.
"""

import asyncio
import json
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
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    VicError,
)
from services.interaction.attach import Read, feed_all, merged
from services.interaction.execs import LAUNCH_SECONDS
from services.interaction.holding import Holder, Reached
from services.interaction.launch import Launcher
from services.interaction.output import Stream
from services.interaction.processes import FILES, Process
from services.interaction.race import until_first
from services.interaction.sessions import Session
from services.interaction.streams import OutputQueue
from services.interaction.timestamps import from_ns

log = logging.getLogger("vic.interaction.files")

Begin = Callable[[interaction_pb2.PathStat], Awaitable[None]]
"""Takes what a path is, before its first byte."""
Send = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a tar."""
SendChanges = Callable[[list[interaction_pb2.Change]], Awaitable[None]]
"""Takes some of what differs from the image."""

# A name and a link's target, 4096 bytes each at most, which JSON may spell six times as long.
_LONGEST_DESCRIPTION: Final = 64 * 1024
_LONGEST_REFUSAL: Final = 16 * 1024
# Each is a process in the VM, with a stream of its tether.
_MOST_AT_ONCE: Final = 64
_LARGEST: Final = (1 << 63) - 1
# More than a path that the guest's kernel takes at once; a list without an end is not waited for.
_LONGEST_CHANGE: Final = 64 * 1024
_KINDS: Final = {
    b"C": interaction_pb2.CHANGE_KIND_MODIFIED,
    b"A": interaction_pb2.CHANGE_KIND_ADDED,
    b"D": interaction_pb2.CHANGE_KIND_DELETED,
}


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
                output = _Output(work)
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
                    _Output(work).rest(_drop), feed_all(work.process, read, confirm, tty=False)
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
            if len(left) > _LONGEST_CHANGE:
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
            output = _Output(work)
            await output.description()
            attempt.begun = True
            await begin(output.stat)
            await output.rest(send)

    @asynccontextmanager
    async def _working(
        self, session: Session, attempt: "_Attempt", task: process_pb2.FileTask
    ) -> "AsyncIterator[_Work]":
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
            yield _Work(session, process, queue, launching)
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


class _Work:
    """One process that works on files."""

    def __init__(
        self,
        session: Session,
        process: Process,
        queue: OutputQueue,
        launching: "asyncio.Future[Any]",
    ) -> None:
        self.session = session
        self.process = process
        self.queue = queue
        self._launching = launching

    async def begun(self) -> None:
        """Return when it runs. Raises what launching raises."""
        await asyncio.shield(self._launching)

    async def exit_code(self) -> int | None:
        """Return its exit code when it has ended; None when it was lost."""
        process = self.process
        await self.session.changed.wait_for(lambda: process.over)
        return None if process.exit is None else process.exit.exit_code


class _Output:
    """What such a process says: a description in one line, a tar, and why it failed."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._head = bytearray()
        self._refusal = bytearray()
        self._left = b""
        self.stat = interaction_pb2.PathStat()

    async def description(self) -> None:
        """Read the first line. Raises what the work failed with instead."""
        await self._work.begun()
        while b"\n" not in self._head:
            pieces = await self._next()
            if pieces is None:
                await self._finish()
                raise Internal("the agent in the VM has described nothing")
            self._head += b"".join(pieces)
            if len(self._head) > _LONGEST_DESCRIPTION and b"\n" not in self._head:
                raise Internal("the agent in the VM describes a path without end")
        line, _, left = bytes(self._head).partition(b"\n")
        self._left = left
        self.stat = described(line)

    async def rest(self, send: Send) -> None:
        """Send on what follows. Raises what the work failed with."""
        await self._work.begun()
        if self._left:
            await send(self._left)
            self._left = b""
        while (pieces := await self._next()) is not None:
            for piece in pieces:
                await send(piece)
        await self._finish()

    async def _next(self) -> list[bytes] | None:
        """Return the next of standard output, or None at the end."""
        chunks = await self._work.queue.take()
        if not chunks:
            return None
        pieces = []
        for stream, data in merged(chunks):
            if stream is Stream.STDOUT:
                pieces.append(data)
            elif len(self._refusal) < _LONGEST_REFUSAL:
                self._refusal += data
        return pieces

    async def _finish(self) -> None:
        """Return when the work is done. Raises when it has failed."""
        code = await self._work.exit_code()
        if code is None or code != 0:
            raise refusal(bytes(self._refusal))


def described(line: bytes) -> interaction_pb2.PathStat:
    """Return what a tether says of a path. Raises Internal for what can't be."""
    fields = _json(line)
    try:
        return interaction_pb2.PathStat(
            name=_text(fields["name"]),
            size=_whole(fields["size"]),
            mode=_whole(fields["mode"]) & 0xFFFF,
            modified_at=from_ns(_whole(fields["mtime_ns"])),
            link_target=_text(fields["link_target"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Internal("the agent in the VM describes a path in a way that can't be") from error


def changed(text: bytes) -> interaction_pb2.Change:
    """Return what a tether says of one path. Raises Internal for what can't be."""
    kind, path = _KINDS.get(text[:1]), text[1:]
    if kind is None or not path.startswith(b"/") or len(path) > _LONGEST_CHANGE:
        raise Internal("the agent in the VM tells of a change in a way that can't be")
    return interaction_pb2.Change(kind=kind, path=path.decode("utf-8", "replace"))


def refusal(text: bytes) -> VicError:
    """Return the error that a tether's words are."""
    fields = _json(text)
    message = str(fields.get("message") or "the work on the container's files was interrupted")
    match fields.get("kind"):
        case "not_found":
            return NotFound(message, Reason.PATH_NOT_FOUND)
        case "not_directory":
            return InvalidArgument(message, Reason.PATH_NOT_DIRECTORY)
        case "read_only":
            return PermissionDenied(message, Reason.PATH_READ_ONLY)
        case "invalid":
            return InvalidArgument(message, Reason.INVALID_ARCHIVE)
        case _:
            return Internal(message)


def _json(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(value: object) -> str:
    """Return a name; what of it is no UTF-8, which JSON has escaped by itself, is replaced."""
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _whole(value: object) -> int:
    if not isinstance(value, int) or not -_LARGEST <= value <= _LARGEST:
        raise ValueError("not a whole number")
    return value


async def _drop(data: bytes) -> None:
    """Nothing is wanted of it."""
