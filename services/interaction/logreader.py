"""Reading a container's log: from where, and what of it. Blocking."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.interaction import logframes
from services.interaction.logfiles import LogPosition, log_numbers, log_path, open_log
from services.interaction.logframes import Frame
from services.interaction.output import MAX_CHUNK, Stream

log = logging.getLogger("vic.interaction.logs")

ALL: Final = -1
# Any frame fits.
_BLOCK: Final = logframes.OVERHEAD + logframes.MAX_DATA
_NEWLINE: Final = b"\n"


@dataclass(frozen=True)
class LogQuery:
    """What of a log is wanted.

    As in Docker the last ``tail`` lines are counted over both streams and all times; of those, what
    ``streams``, ``since_ns`` and ``until_ns`` (both included) let through.
    """

    streams: frozenset[Stream] = frozenset(Stream)
    since_ns: int = 0
    until_ns: int | None = None
    tail: int = ALL
    after: LogPosition | None = None
    """Where to go on, in the place of ``tail`` and of looking for ``since_ns``."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A piece of one stream that was written at one time."""

    time_ns: int
    stream: Stream
    data: bytes
    line_start: bool


@dataclass(frozen=True)
class LogBatch:
    """Some records, and where the log was read up to."""

    records: Sequence[LogRecord]
    position: LogPosition


class LogReader:
    """Reads a log forwards, batch by batch, while it may grow and its oldest files go.

    One thread at a time may use it. Call :meth:`seek` first and :meth:`close` at the end.
    """

    def __init__(self, directory: Path, query: LogQuery) -> None:
        self._directory = directory
        self._query = query
        self._position = LogPosition(0, 0)
        self._descriptor: int | None = None
        # Bytes of the file from the position on.
        self._buffer = b""
        self._used = 0
        # Bytes of the next frame that lie before the first line that is wanted.
        self._skip = 0
        # Streams of which the next bytes belong to a line that began too early.
        self._within: set[Stream] = set()
        self.finished = False
        """Whether what follows is later than what is wanted."""

    def seek(self, end: LogPosition) -> None:
        """Go to the first wanted frame of a log that ends at ``end``."""
        query = self._query
        if query.after is not None:
            self._position = query.after
            return
        numbers = [number for number in log_numbers(self._directory) if number <= end.file]
        if not numbers or query.tail == 0:
            self._position = end
        elif query.tail < 0 and not query.since_ns:
            self._position = LogPosition(numbers[0], 0)
        else:
            self._position = self._search(numbers, end)

    def read(self, end: LogPosition, limit: int = MAX_CHUNK) -> list[LogRecord]:
        """Return what comes next before ``end``: some ``limit`` bytes, or nothing at the end."""
        records: list[LogRecord] = []
        size = 0
        while size < limit and not self.finished:
            frame = self._next(end)
            if frame is None:
                break
            if self._query.until_ns is not None and frame.time_ns > self._query.until_ns:
                self.finished = True
                break
            record = self._record(frame)
            if record is not None:
                records.append(record)
                size += len(record.data)
        return records

    @property
    def position(self) -> LogPosition:
        """Where it is: after the last record that was read."""
        return self._position

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _record(self, frame: Frame) -> LogRecord | None:
        """Return the wanted part of a frame."""
        data, line_start = frame.data, frame.line_start
        skip, self._skip = self._skip, 0
        if skip:
            data, line_start = data[skip:], True
        elif frame.stream in self._within and not line_start:
            data, line_start = data.partition(_NEWLINE)[2], True
        if not data:
            return None
        self._within.discard(frame.stream)
        if frame.stream not in self._query.streams or frame.time_ns < self._query.since_ns:
            return None
        return LogRecord(frame.time_ns, frame.stream, data, line_start)

    def _search(self, numbers: Sequence[int], end: LogPosition) -> LogPosition:
        """Go back from the end to the first frame that is wanted."""
        lines = self._query.tail
        for number in reversed(numbers):
            try:
                with open_log(log_path(self._directory, number)) as descriptor:
                    if lines < 0 and _first_time(descriptor) >= self._query.since_ns:
                        continue
                    size = end.offset if number == end.file else os.fstat(descriptor).st_size
                    for offset, frame in _backwards(descriptor, size):
                        if frame.time_ns < self._query.since_ns:
                            return LogPosition(number, offset + frame.size)
                        starts = _line_starts(frame)
                        if 0 <= lines <= starts:
                            self._skip = _line_offset(frame, starts - lines)
                            self._within = set(Stream) - {frame.stream}
                            return LogPosition(number, offset)
                        lines -= starts if lines > 0 else 0
            except FileNotFoundError:
                # It was the oldest one, and went meanwhile.
                return LogPosition(number + 1, 0)
        return LogPosition(numbers[0], 0)

    def _next(self, end: LogPosition) -> Frame | None:
        """Return the next frame before an end and step over it."""
        while True:
            limit = self._limit(end)
            if limit is not None and self._position.offset < limit:
                frame = self._decode(limit)
                if frame is not None:
                    self._position = LogPosition(
                        self._position.file, self._position.offset + frame.size
                    )
                    self._used += frame.size
                    return frame
                log.warning(
                    "a log is damaged; the rest of the file is left out",
                    extra={"directory": str(self._directory), "file": self._position.file},
                )
                self._position = LogPosition(self._position.file, limit)
            if self._position.file >= end.file:
                return None
            self._leave(end)

    def _limit(self, end: LogPosition) -> int | None:
        """Return the offset where the present file ends, or None when it isn't there."""
        if self._descriptor is None:
            path = log_path(self._directory, self._position.file)
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        if self._position.file == end.file:
            return end.offset
        return os.fstat(self._descriptor).st_size

    def _decode(self, limit: int) -> Frame | None:
        frame = logframes.decode(self._buffer, self._used)
        if frame is None:
            assert self._descriptor is not None
            offset = self._position.offset
            self._buffer = os.pread(self._descriptor, min(_BLOCK, limit - offset), offset)
            self._used = 0
            frame = logframes.decode(self._buffer)
        return frame

    def _leave(self, end: LogPosition) -> None:
        """Go to the beginning of the next file that is there."""
        self.close()
        self._buffer, self._used = b"", 0
        later = [n for n in log_numbers(self._directory) if self._position.file < n <= end.file]
        self._position = LogPosition(min(later, default=end.file), 0)


def _backwards(descriptor: int, size: int) -> Iterator[tuple[int, Frame]]:
    """Yield a file's frames with their offsets, last one first, until one is not sound."""
    base, block = size, b""
    while size > 0:
        frame = logframes.decode_last(block, size - base)
        if frame is None:
            if base == 0 or size - base >= _BLOCK:
                return
            base = max(0, size - _BLOCK)
            block = os.pread(descriptor, size - base, base)
            continue
        size -= frame.size
        yield size, frame


def _first_time(descriptor: int) -> int:
    """Return the time of a file's first frame, or 0 when it has none."""
    frame = logframes.decode(os.pread(descriptor, _BLOCK, 0))
    return frame.time_ns if frame is not None else 0


def _line_starts(frame: Frame) -> int:
    """Return how many lines begin within a frame."""
    if not frame.data:
        return 0
    newlines = frame.data.count(_NEWLINE)
    return frame.line_start + newlines - frame.data.endswith(_NEWLINE)


def _line_offset(frame: Frame, number: int) -> int:
    """Return the offset where the line of a number, from 0, begins within a frame."""
    offset = 0
    for _ in range(number if frame.line_start else number + 1):
        offset = frame.data.index(_NEWLINE, offset) + 1
    return offset
