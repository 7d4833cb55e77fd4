"""The way of blocks to the sink: neighbours are gathered into large writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from services.storage.compiler.allocation import Run
from services.storage.compiler.contract import BlockSink
from services.storage.compiler.ext4.superblock import BLOCK

GATHER = 1 << 20
"""Bytes written at once, about: what is gathered is passed on when it has come to as many."""

_MOST_PARTS = 1000
"""Of what is written at once, so that Linux takes it in one step (IOV_MAX is 1024)."""

_WAITING = 3
"""Pieces of that size that wait for the disk."""

_MOST_LENDERS = 2
"""Buffers that parts of a piece may lie in. Each is kept whole as long as a part of it is needed,
and there could be as many as small files."""

_ZEROS = memoryview(bytes(BLOCK))


class BlockOutput:
    """Writes blocks in the order they come, joined where they lie side by side.

    A thread hands them to the sink. What it is given isn't copied: the kernel collects it from
    where it is, which leaves the interpreter's lock to who gathers the next ones.
    """

    def __init__(self, sink: BlockSink) -> None:
        """Begin with nothing gathered; `with` starts and ends the thread."""
        self._sink = sink
        self._full: SimpleQueue[tuple[int, list[memoryview]] | None] = SimpleQueue()
        self._free: SimpleQueue[BaseException | None] = SimpleQueue()
        """One for each piece that may wait."""
        for _ in range(_WAITING):
            self._free.put(None)
        self._parts: list[memoryview] = []
        self._start = 0
        self._end = 0
        self._lender: object = None
        self._lenders = 0
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
        """Write whole blocks. The data must not be changed any more.

        Raises:
            What the sink raised for earlier ones.
        """
        self._add(block * BLOCK, (memoryview(data),), len(data))

    def lend(self, block: int, parts: Sequence[memoryview], length: int) -> None:
        """Write parts of large buffers into blocks side by side, the last filled up with zeros.

        The buffers must not be changed any more. Raises what the sink raised for earlier ones.
        """
        lender = parts[-1].obj
        if lender is not self._lender:
            self._lender = lender
            self._lenders += 1
            if self._lenders > _MOST_LENDERS:
                self._flush()
        self._add(block * BLOCK, parts, length)

    def _add(self, offset: int, parts: Sequence[memoryview], length: int) -> None:
        if offset != self._end:
            self._flush()
            self._start = self._end = offset
        gathered = self._parts
        gathered += parts
        padding = -length % BLOCK
        if padding:
            gathered.append(_ZEROS[:padding])
        self._end += length + padding
        if self._end - self._start >= GATHER or len(gathered) >= _MOST_PARTS:
            self._flush()

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
            while count:
                step = min(count, GATHER // BLOCK)
                data = bytearray(step * BLOCK)
                used = min(len(data), length)
                fill(memoryview(data)[:used])
                self.put(block, data)
                length -= used
                block += step
                count -= step

    def finish(self) -> None:
        """Have all of it written. Raises what the sink raised."""
        self._flush()
        for _ in range(_WAITING):
            self._await_room()

    def _flush(self) -> None:
        if self._parts:
            self._full.put((self._start, self._parts))
            self._await_room()
            self._parts = []
        self._start = self._end
        self._lenders = 1

    def _await_room(self) -> None:
        error = self._free.get()
        if error is not None:
            raise error

    def _work(self) -> None:
        try:
            while (piece := self._full.get()) is not None:
                start, parts = piece
                self._sink.write(start, *parts)
                del piece, parts
                self._free.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to who gathers
            self._free.put(error)
