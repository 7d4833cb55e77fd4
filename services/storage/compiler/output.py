"""The way of blocks to the sink: neighbours are gathered into large writes."""

from __future__ import annotations

from collections.abc import Callable

from services.storage.compiler.allocation import Run
from services.storage.compiler.contract import BlockSink
from services.storage.compiler.ext4.superblock import BLOCK

GATHER = 1 << 20
"""Bytes written at once: large enough for the disk, small enough for a core's cache."""


class BlockOutput:
    """Writes blocks in the order they come, joined where they lie side by side."""

    def __init__(self, sink: BlockSink) -> None:
        """Begin with nothing gathered."""
        self._sink = sink
        self._buffer = bytearray(GATHER)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._fill = 0

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
        """
        for block, count in runs:
            offset = block * BLOCK
            room = count * BLOCK
            while room:
                at = self._fill
                if offset != self._start + at or at == GATHER:
                    self.flush()
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

    def flush(self) -> None:
        """Hand over what is gathered."""
        if self._fill:
            self._sink.write(self._start, self._view[: self._fill])
        self._start += self._fill
        self._fill = 0
