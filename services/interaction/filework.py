"""One process that works on files in a VM, and what it says of them.

What comes from there is not trusted: a description is checked before anybody sees it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from vic.interaction.v1 import interaction_pb2

from portlayer.errors import (
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    VicError,
)
from services.interaction.attach import merged
from services.interaction.output import Stream
from services.interaction.processes import Process
from services.interaction.sessions import Session
from services.interaction.streams import OutputQueue
from services.interaction.timestamps import from_ns

Send = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a tar."""

# A name and a link's target, 4096 bytes each at most, which JSON may spell six times as long.
_LONGEST_DESCRIPTION: Final = 64 * 1024
_LONGEST_REFUSAL: Final = 16 * 1024
_LARGEST: Final = (1 << 63) - 1
# More than a path that the guest's kernel takes at once; a list without an end is not waited for.
LONGEST_CHANGE: Final = 64 * 1024
_KINDS: Final = {
    b"C": interaction_pb2.CHANGE_KIND_MODIFIED,
    b"A": interaction_pb2.CHANGE_KIND_ADDED,
    b"D": interaction_pb2.CHANGE_KIND_DELETED,
}


class Work:
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


class Output:
    """What such a process says: a description in one line, a tar, and why it failed."""

    def __init__(self, work: Work) -> None:
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
    if kind is None or not path.startswith(b"/") or len(path) > LONGEST_CHANGE:
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
