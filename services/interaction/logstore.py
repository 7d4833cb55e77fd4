"""The logs of all containers: what appends, what reads, and who is told of new output."""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from services.interaction.logfiles import LogFiles, LogLimits, LogPosition
from services.interaction.logreader import LogBatch, LogQuery, LogReader
from services.interaction.output import Chunk
from services.interaction.pulse import Pulse
from services.interaction.sysloglines import SyslogTarget
from services.interaction.syslogsink import SyslogSink

log = logging.getLogger("vic.interaction.logs")

T = TypeVar("T")

# A disk that hangs holds threads, never the event loop; readers never take a writer's thread.
_WRITERS: Final = 4
_READERS: Final = 4
# In a log's directory, as old as its container isn't known.
_NOBODYS: Final = "nobodys"
_KEPT_SECONDS: Final = 24 * 3600


class ContainerLog:
    """The log of one container."""

    def __init__(self, directory: Path, writers: Executor, readers: Executor) -> None:
        self._directory = directory
        self._limits = LogLimits()
        self._writers = writers
        self._readers = readers
        self._files: LogFiles | None = None
        self._sink: SyslogSink | None = None
        self._removed = False
        self._lock = asyncio.Lock()
        self._end = LogPosition(1, 0)
        self._changed = Pulse()

    def limit(self, limits: LogLimits) -> None:
        """Set other limits; they hold for what is appended from now on."""
        self._limits = limits
        if self._files is not None:
            self._files.limits = limits

    async def forward(self, target: SyslogTarget | None) -> None:
        """Send what is appended from now on to a syslog server as well, or to none any more."""
        former = self._sink
        if (None if former is None else former.target) == target:
            return
        self._sink = None if target is None else SyslogSink(target)
        if former is not None:
            await former.close()

    @property
    def end(self) -> LogPosition:
        """Where the log ends, once :meth:`open` has returned."""
        return self._end

    async def open(self) -> None:
        """Find out where the log ends; repairs it first after a crash."""
        async with self._lock:
            await self._open()

    async def last_sequence(self, boot_id: str) -> int:
        """Return the number of the last chunk of a boot that is stored, or 0."""
        async with self._lock:
            return (await self._open()).last_sequence(boot_id)

    async def append(self, boot_id: str, chunks: Sequence[Chunk]) -> int:
        """Store chunks in order; return how many of them.

        Raises OSError when not even the first could be stored. Of a log that was removed meanwhile
        nothing is stored, and all counts as stored.
        """
        async with self._lock:
            if self._removed:
                return len(chunks)
            files = await self._open()
            stored = await _run(self._writers, files.append, boot_id, chunks)
            self._end = files.end
        self._changed.beat()
        if self._sink is not None:
            self._sink.take(chunks[:stored])
        return stored

    async def read(
        self,
        query: LogQuery,
        *,
        until: LogPosition | None = None,
        live: Callable[[], bool] = lambda: False,
    ) -> AsyncGenerator[LogBatch, None]:
        """Yield batches of what is stored, up to a position or to the end; the first has nothing.

        At the end it goes on with what is added, for as long as ``live`` says so; whoever changes
        what that says calls :meth:`tell`. A reader that is slow may miss files that rotation
        removes; it never holds anybody back.
        """
        await self.open()
        reader = LogReader(self._directory, query)
        end = self._end if until is None else until
        try:
            await _run(self._readers, reader.seek, end)
            yield LogBatch((), reader.position)
            while not reader.finished:
                batch = await _run(self._readers, reader.read, end)
                if batch:
                    yield LogBatch(batch, reader.position)
                elif until is None and end != self._end:
                    end = self._end
                elif live():
                    await self._added(end, live)
                else:
                    return
        finally:
            reader.close()

    async def _added(self, end: LogPosition, live: Callable[[], bool]) -> None:
        await self._changed.wait_for(lambda: self._end != end or not live())

    def tell(self) -> None:
        """Let readers look again whether they should wait for more."""
        self._changed.beat()

    async def close(self) -> None:
        """Give descriptors back; the log opens again by itself."""
        async with self._lock:
            if self._files is not None:
                self._files.close()
        if self._sink is not None:
            self._sink.end()

    async def stop(self) -> None:
        """Break off what goes to a syslog server: this process ends."""
        if self._sink is not None:
            await self._sink.close()

    async def remove(self) -> None:
        """Delete the log for ever."""
        async with self._lock:
            self._removed = True
            if self._files is not None:
                self._files.close()
            await _run(self._writers, _remove, self._directory)
        if self._sink is not None:
            self._sink.end()
        self.tell()

    async def _open(self) -> LogFiles:
        if self._files is None:
            self._files = await _run(self._writers, LogFiles, self._directory, self._limits)
            self._end = self._files.end
        return self._files


class LogStore:
    """A directory with the log of each container in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._unknown: set[str] = set()
        """Containers that have a log and weren't known when this process began."""
        self._writers = ThreadPoolExecutor(_WRITERS, "log-writer")
        self._readers = ThreadPoolExecutor(_READERS, "log-reader")

    def log(self, container_id: str) -> ContainerLog:
        """Return the log of a container; nothing is made before its first output."""
        return ContainerLog(self._directory / container_id, self._writers, self._readers)

    async def kept(self) -> set[str]:
        """Return the IDs of the containers that have a log."""

        def listed() -> set[str]:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return {path.name for path in self._directory.iterdir()}

        return await _run(self._readers, listed)

    async def sweep(self, kept: set[str], known: set[str]) -> None:
        """Remove logs of containers that haven't been known for a day, of all that are kept.

        A crash within a removal leaves such. But a database that was lost, or restored from a
        backup, knows none of them either before exec has registered its containers again.
        """
        self._unknown = await _run(self._writers, _sweep, self._directory, kept, known)

    async def know(self, container_id: str) -> None:
        """Take in that a container is known, whose log may not have been anybody's."""
        if container_id in self._unknown:
            await _run(self._writers, _unmark, self._directory / container_id)
            self._unknown.discard(container_id)

    def close(self) -> None:
        """Wait for what is being written and read."""
        self._writers.shutdown()
        self._readers.shutdown()


def _sweep(directory: Path, kept: set[str], known: set[str]) -> set[str]:
    """Remove logs that have been nobody's for long; return whose logs are nobody's yet."""
    unknown = set()
    for container_id in kept:
        path = directory / container_id
        if container_id in known:
            _unmark(path)
        elif _is_old(path):
            log.warning("removed a log without a container", extra={"path": str(path)})
            _remove(path)
        else:
            unknown.add(container_id)
    return unknown


def _is_old(directory: Path) -> bool:
    """Whether a log has been nobody's for long; marks one that begins to be."""
    mark = directory / _NOBODYS
    try:
        return time.time() - mark.stat().st_mtime > _KEPT_SECONDS
    except FileNotFoundError:
        # On a disk that is full its time begins later.
        with contextlib.suppress(OSError):
            mark.touch()
        return False


def _unmark(directory: Path) -> None:
    (directory / _NOBODYS).unlink(missing_ok=True)


def _remove(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


async def _run(executor: Executor, function: Callable[..., T], *args: Any) -> T:
    """Call a function in a thread; when cancelled, end only after it has ended.

    It works on descriptors and files that the caller closes or gives to the next one afterwards.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, function, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
