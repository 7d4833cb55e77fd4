"""The files of one container's log: appending, rotation, and repair after a crash. Blocking."""

import errno
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from services.interaction import logframes
from services.interaction.logframes import Frame
from services.interaction.output import Chunk, Stream

log = logging.getLogger("vic.interaction.logs")

_NAME: Final = re.compile(r"([0-9]{8})\.log")
# writev(2) takes 1024 pieces; a frame is three.
_FRAMES_PER_WRITE: Final = 1024 // 3
# Any frame fits.
_READ_SIZE: Final = logframes.OVERHEAD + logframes.MAX_DATA


@dataclass(frozen=True, order=True)
class LogPosition:
    """A place between two frames: number of the file, offset in it."""

    file: int
    offset: int


@dataclass(frozen=True)
class LogLimits:
    """When a file is closed and a new one begun, and how many are kept, that one included."""

    # Bytes; zero means that there is one file for ever.
    max_size: int = 0
    max_files: int = 1


def log_path(directory: Path, number: int) -> Path:
    """Return the path of a file of a log."""
    return directory / f"{number:08}.log"


def log_numbers(directory: Path) -> list[int]:
    """Return the numbers of a log's files, oldest first; none where nothing was ever written."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


class LogFiles:
    """What appends to a log. One thread at a time may use it; readers go by the files alone."""

    def __init__(self, directory: Path, limits: LogLimits) -> None:
        """Repair what a crash left in ``directory``, which need not exist. Raises OSError."""
        self.limits = limits
        self._directory = directory
        self._descriptor: int | None = None
        self.end = LogPosition(1, 0)
        # Tells where the log stands; without its data, which would only take memory.
        self._last: Frame | None = None
        numbers = log_numbers(directory)
        if numbers:
            self.end = LogPosition(numbers[-1], _repair(log_path(directory, numbers[-1])))
        for number in reversed(numbers):
            last = _last_frame(log_path(directory, number))
            if last is not None:
                self._last = replace(last, data=b"")
                break

    def last_sequence(self, boot_id: str) -> int:
        """Return the number of the last chunk of a boot that is stored, or 0."""
        if self._last is None or self._last.boot != logframes.boot_number(boot_id):
            return 0
        return self._last.sequence

    def append(self, boot_id: str, chunks: Sequence[Chunk]) -> int:
        """Store chunks and return how many of them were stored.

        They are stored when they are with the kernel: they outlive this process, not the machine.
        Raises OSError when not even the first could be stored; nothing of it is left then.
        """
        boot = logframes.boot_number(boot_id)
        stored = 0
        while stored < len(chunks):
            frames = self._frames(boot, chunks[stored : stored + _FRAMES_PER_WRITE])
            try:
                self._write(frames)
            except OSError:
                if stored:
                    break
                raise
            stored += len(frames)
        return stored

    def _frames(self, boot: int, chunks: Sequence[Chunk]) -> list[Frame]:
        """Return the next frames, as many as go into one file."""
        last = self._last
        room = self._room()
        now = time.time_ns()
        frames: list[Frame] = []
        for chunk in chunks:
            within: frozenset[Stream] = frozenset()
            earliest = 0
            if last is not None:
                earliest = last.time_ns
                # A new run begins its lines anew, whatever the last one left unfinished.
                within = last.within_line if last.boot == boot else within
            line_start = chunk.stream not in within
            if chunk.data:
                within -= {chunk.stream}
                if chunk.data[-1] != 0x0A:
                    within |= {chunk.stream}
            last = Frame(
                stream=chunk.stream,
                line_start=line_start,
                within_line=within,
                # The guest's clock is not trusted; and a search by time needs them in order.
                time_ns=max(earliest, min(chunk.time_ns or now, now)),
                sequence=chunk.sequence,
                boot=boot,
                data=chunk.data,
            )
            frames.append(last)
            if room is not None:
                room -= last.size
                if room <= 0:
                    break
        return frames

    def _room(self) -> int | None:
        """Return how many bytes the present file still takes; a full one counts as a new one."""
        size = self.limits.max_size
        if not size:
            return None
        return size - self.end.offset if self.end.offset < size else size

    def _write(self, frames: Sequence[Frame]) -> None:
        number, offset = self.end.file, self.end.offset
        rotate = bool(self.limits.max_size) and offset >= self.limits.max_size
        if rotate:
            number, offset = number + 1, 0
            self.close()
        if self._descriptor is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(log_path(self._directory, number), flags, 0o600)
        pieces = [piece for frame in frames for piece in logframes.encode(frame)]
        size = sum(frame.size for frame in frames)
        try:
            written = os.pwritev(self._descriptor, pieces, offset)
            if written != size:
                # What a full disk does to the last write that it takes a part of.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._descriptor, offset)
            self.close()
            raise
        self.end = LogPosition(number, offset + size)
        self._last = replace(frames[-1], data=b"")
        if rotate:
            # Only now: the last frame of the former file told where the log stood.
            self._drop_old()

    def _drop_old(self) -> None:
        for number in log_numbers(self._directory):
            if number <= self.end.file - max(1, self.limits.max_files):
                log_path(self._directory, number).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the descriptor back; the next append opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def open_log(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Yield a descriptor of a log's file."""
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _last_frame(path: Path) -> Frame | None:
    """Return the frame that a file ends with, or None when it doesn't end with a sound one."""
    with open_log(path) as descriptor:
        size = os.fstat(descriptor).st_size
        start = max(0, size - _READ_SIZE)
        tail = os.pread(descriptor, size - start, start)
    return logframes.decode_last(tail, len(tail))


def _repair(path: Path) -> int:
    """Cut off what follows the last sound frame; return the size of the rest."""
    if _last_frame(path) is not None:
        return path.stat().st_size
    with open_log(path, os.O_RDWR) as descriptor:
        size = os.fstat(descriptor).st_size
        sound = 0
        while buffer := os.pread(descriptor, _READ_SIZE, sound):
            length = sum(frame.size for _, frame in logframes.decode_all(buffer))
            if not length:
                break
            sound += length
        if sound < size:
            log.warning(
                "removed the end of a log that was cut short",
                extra={"path": str(path), "bytes": size - sound},
            )
            os.ftruncate(descriptor, sound)
    return sound
