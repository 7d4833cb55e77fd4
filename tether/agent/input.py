"""Standard input of a process: bytes as they come, written as its pipe takes them."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable


class InputPipe:
    """Writes to a pipe or terminal without ever blocking, and counts what was taken."""

    def __init__(self, descriptor: int, *, terminal: bool, on_progress: Callable[[], None]) -> None:
        """Take over ``descriptor``; ``on_progress`` is called when ``offset`` or ``closed`` change.

        A terminal has no end of input: closing is up to the process.
        """
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.dup(descriptor) if terminal else descriptor
        self._terminal = terminal
        self._on_progress = on_progress
        self._queue: deque[memoryview] = deque()
        self._end: int | None = None
        self._waiting = False
        # Bytes that came, and bytes of them that the pipe has taken.
        self.received = 0
        self.offset = 0
        self.closed = False
        os.set_blocking(self._descriptor, False)

    def write(self, offset: int, data: bytes) -> None:
        """Take a piece of input; what was received before is dropped."""
        new = data[max(0, self.received - offset) :]
        if self.closed or not new or offset > self.received:
            return
        self.received += len(new)
        self._queue.append(memoryview(new))
        self._flush()

    def end(self, offset: int) -> None:
        """The input ends here: close the pipe when it has taken all of it."""
        self._end = offset
        self._flush()

    def close(self) -> None:
        """No more input is wanted."""
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self._wait_for_room(False)
        os.close(self._descriptor)
        self._on_progress()

    def _flush(self) -> None:
        before = self.offset
        while self._queue and not self.closed:
            piece = self._queue[0]
            try:
                count = os.write(self._descriptor, piece)
            except BlockingIOError:
                self._wait_for_room(True)
                break
            except OSError:  # EPIPE, or a terminal that has been hung up: nobody reads
                self.close()
                return
            self.offset += count
            if count == len(piece):
                self._queue.popleft()
            else:
                self._queue[0] = piece[count:]
        if not self._queue:
            self._wait_for_room(False)
            ended = self._end is not None and self.offset >= self._end
            if ended and not self._terminal and not self.closed:
                self.close()
                return
        if self.offset != before:
            self._on_progress()

    def _wait_for_room(self, wanted: bool) -> None:
        if wanted and not self._waiting:
            self._loop.add_writer(self._descriptor, self._flush)
        elif self._waiting and not wanted:
            self._loop.remove_writer(self._descriptor)
        self._waiting = wanted
