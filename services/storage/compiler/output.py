"""The way of blocks to the sink: neighbours are gathered into large writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from services.storage.compiler.allocation import Run
from services.storage.compiler.contract import BlockSink
from services.storage.compiler.ext4.superblock import BLOCK

GATHER = 1 << 20
"""Bytes written at once: large enough for the disk, small enough for a core's cache."""

_BUFFERS = 4
"""Of that size: one is filled while the others wait for the disk."""


class BlockOutput:
    """Writes blocks in the order they come, joined where they lie side by side.

    A thread hands them to the sink, whose copying into the kernel leaves the interpreter's lock
    to who gathers the next ones.
    """

    def __init__(self, sink: BlockSink) -> None:
        """Begin with nothing gathered; `with` starts and ends the thread."""
        self._sink = sink
        self._full: SimpleQueue[tuple[int, memoryview, int] | None] = SimpleQueue()
        self._free: SimpleQueue[memoryview | BaseException] = SimpleQueue()
        for _ in range(_BUFFERS - 1):
            self._free.put(memoryview(bytearray(GATHER)))
        self._view = memoryview(bytearray(GATHER))
        self._start = 0
        self._fill = 0
        self._thread = threading.Thread(target=self._work, name="output", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._full.put(None)
        self._thread.join()

    def put(self, block: int, data: bytes | bytearray | memoryview) -> None:
        """Write whole blocks."""
        runs = [(block, len(data) // BLOCK)]
        rest = memoryview(data)

        def copy(view: memoryview) -> None:
            nonlocal rest
            view[:] = rest[: len(view)]
            rest = rest[len(view) :]

        self.stream(runs, len(data), copy)

    def stream(self, runs: list[Run], length: int, fill: Callable[[memoryview], None]) -> None:
        """Write `length` bytes into runs of blocks, the last block filled up with zeros.

        Args:
            runs: where the bytes go; together they hold them.
            length: how many bytes there are.
            fill: puts the next bytes into a view, as many as it takes.

        Raises:
            What the sink raised for earlier ones.
        """
        for block, count in runs:
            offset = block * BLOCK
            room = count * BLOCK
            while room:
                at = self._fill
                if offset != self._start + at or at == GATHER:
                    self._flush()
                    at = 0
                    self._start = offset
                step = min(room, GATHER - at)
                used = min(step, length)
                fill(self._view[at : at + used])
                if used < step:
                    self._view[at + used : at + step] = bytes(step - used)
                length -= used
                self._fill = at + step
                offset += step
                room -= step

    def finish(self) -> None:
        """Have all of it written. Raises what the sink raised."""
        self._flush()
        for _ in range(_BUFFERS - 1):
            self._next_buffer()

    def _flush(self) -> None:
        if self._fill:
            self._full.put((self._start, self._view, self._fill))
            self._view = self._next_buffer()
        self._fill = 0

    def _next_buffer(self) -> memoryview:
        found = self._free.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def _work(self) -> None:
        try:
            while (piece := self._full.get()) is not None:
                start, view, length = piece
                self._sink.write(start, view[:length])
                self._free.put(view)
        except BaseException as error:  # noqa: BLE001 - handed to who gathers
            self._free.put(error)
