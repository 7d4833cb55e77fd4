"""Streams on their way into a worker process, which makes blobs and files of them.

A stream goes through a named pipe, so that it is on no disk twice and neither side gets ahead of
the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portlayer.errors import leaf_error
from portlayer.threads import in_thread
from services.storage.compile_pool import CompilePool, result_of
from services.storage.faults import storage_faults
from services.storage.files import delete, from_json, staged_directory, staged_path
from services.storage.imagec.digest import Digest
from services.storage.imagec.inflate import Compression
from services.storage.worker_archives import MEMBERS

MAX_MEMBERS = 100_000
"""Of an archive of images: dockerd writes three a layer at most."""

_ARCHIVE_FACTOR = 16
"""An archive of images may be so many times as large as one layer."""

_PIPE_BYTES = 1 << 20
_MAX_LINKS = 8


@dataclass(frozen=True)
class TakenBlob:
    """A blob that was made of a tar; it isn't in the store yet."""

    path: Path
    digest: Digest
    size: int
    diff_id: Digest
    tar_size: int
    compression: Compression
    empty: bool
    """Whether the tar has no members."""


class Unpacked:
    """The members of an archive, by their names."""

    def __init__(self, directory: Path, members: dict[str, Any]) -> None:
        self._directory = directory
        self._members = members

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of that name, links followed."""
        return self._find(name) is not None

    def _find(self, name: str) -> dict[str, Any] | None:
        for _ in range(_MAX_LINKS):
            member: dict[str, Any] | None = self._members.get(name)
            if member is None or "file" in member:
                return member
            name = str(member["link"])
        return None

    def path(self, name: str) -> Path:
        """Where a member lies. Raises KeyError."""
        return self._directory / str(self._member(name)["file"])

    def size(self, name: str) -> int:
        """Its bytes. Raises KeyError."""
        return int(self._member(name)["size"])

    def digest(self, name: str) -> Digest:
        """Its digest. Raises KeyError."""
        return Digest(self._member(name)["digest"])

    def _member(self, name: str) -> dict[str, Any]:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found


class ArchiveWork:
    """Has workers take in tars and archives; what they make lies in a directory of the store."""

    def __init__(self, pool: CompilePool, directory: Path) -> None:
        """`directory` is swept of staged files when the store is opened."""
        self._pool = pool
        self._directory = directory

    @asynccontextmanager
    async def taken(self, source: AsyncIterable[bytes] | Path) -> AsyncIterator[TakenBlob]:
        """Make a blob of a tar, compressed or not; deleted in the end unless it was moved.

        Raises:
            InvalidLayer, StoreFull. What the source raises.
        """
        out = self._staged()
        try:
            done = await self._run("take", source, out, factor=1, entries=0)
            yield TakenBlob(
                path=out,
                digest=Digest(done["blob"]),
                size=int(done["blob_size"]),
                diff_id=Digest(done["diff_id"]),
                tar_size=int(done["size"]),
                compression=Compression(done["compression"]),
                empty=bool(done["empty"]),
            )
        finally:
            await in_thread(out.unlink, missing_ok=True)

    @asynccontextmanager
    async def unpacked(self, source: AsyncIterable[bytes]) -> AsyncIterator[Unpacked]:
        """Take an archive apart into files, which are deleted in the end.

        Raises:
            InvalidLayer, StoreFull. What the source raises.
        """
        with staged_directory(self._directory) as out:
            await self._run("unpack", source, out, factor=_ARCHIVE_FACTOR, entries=MAX_MEMBERS)
            members = await in_thread(from_json, out / MEMBERS)
            try:
                yield Unpacked(out, members)
            finally:
                await in_thread(shutil.rmtree, out)

    def _staged(self) -> Path:
        return staged_path(self._directory)

    async def _run(
        self,
        kind: str,
        source: AsyncIterable[bytes] | Path,
        out: Path,
        *,
        factor: int,
        entries: int,
    ) -> dict[str, Any]:
        limits = self._pool.limits
        job = {
            "out": str(out),
            "max_bytes": limits.max_bytes * factor,
            "max_entries": entries,
            "max_ratio": limits.max_ratio,
        }
        with storage_faults():
            if isinstance(source, Path):
                async with self._pool.worker() as worker:
                    await worker.send({kind: {**job, "source": str(source)}})
                    return await result_of(worker, _ignore)
            pipe = self._staged()
            try:
                async with self._pool.worker() as worker:
                    with _Pipe(pipe) as feed:
                        await worker.send({kind: {**job, "source": str(pipe)}})
                        try:
                            async with asyncio.TaskGroup() as group:
                                feeding = group.create_task(feed.send(source))
                                done = await result_of(worker, _ignore, feed.opened)
                                feeding.cancel()  # of a stream that goes on behind its end
                        except BaseExceptionGroup as error:
                            raise leaf_error(error) from error
                        return done
            finally:
                delete(pipe)


def _ignore(_inflated: int, _consumed: int) -> None:
    """Nobody is told how far it has come."""


class _Pipe:
    """A named pipe's writing end. Until the reader is there its reading end is held as well."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        self._reader_there = asyncio.Event()
        self._read = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._write = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *_error: object) -> None:
        self.opened()
        self._close()

    def _close(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

    def opened(self) -> None:
        """The reader is there: when it goes, writing must fail."""
        self._reader_there.set()
        if self._read >= 0:
            os.close(self._read)
            self._read = -1

    async def send(self, source: AsyncIterable[bytes]) -> None:
        """Write all of a stream, and close. A reader that has left has a reason, and tells it."""
        try:
            async for data in source:
                await self._send(memoryview(data))
        except BrokenPipeError:
            return
        # Opening a pipe waits for who writes to it, so that the end must stay until then.
        await self._reader_there.wait()
        self._close()

    async def _send(self, view: memoryview) -> None:
        while view:
            try:
                view = view[os.write(self._write, view) :]
            except BlockingIOError:
                await self._room()

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._write, _settle, writable)
        try:
            await writable
        finally:
            loop.remove_writer(self._write)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
