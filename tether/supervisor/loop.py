"""A small event loop: descriptors, one signal, a few deadlines. The supervisor needs no more."""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType


class Deadline:
    """Something that happens at a time unless it is cancelled."""

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        """``at`` is of the monotonic clock."""
        self.at = at
        self.action = action


class Loop:
    """Waits for descriptors by epoll and calls what was registered for them."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._deadlines: list[Deadline] = []

    def watch(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Call ``reader`` whenever something can be read; it reads until that would block.

        Edge-triggered: a virtio port whose other end is gone reports that for ever otherwise.
        """
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def forget(self, descriptor: int) -> None:
        """Stop watching; a descriptor that isn't watched is fine."""
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def after(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """Call ``action`` once, in ``seconds``."""
        deadline = Deadline(time.monotonic() + seconds, action)
        self._deadlines.append(deadline)
        return deadline

    def cancel(self, deadline: Deadline) -> None:
        """Forget a deadline; one that has passed is fine."""
        if deadline in self._deadlines:
            self._deadlines.remove(deadline)

    def on_child(self, action: Callable[[], None]) -> None:
        """Call ``action`` after children have changed state."""
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(writing.fileno())

        def reader() -> None:
            try:
                while reading.recv(256):
                    pass
            except BlockingIOError:
                action()

        self._wakeup = (reading, writing)  # alive as long as the loop
        self.watch(reading.fileno(), reader)

    def run(self) -> None:
        """Run for ever."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for one round of events, and serve them."""
        timeout = -1.0
        if self._deadlines:
            timeout = max(0.0, min(one.at for one in self._deadlines) - time.monotonic())
        for descriptor, _events in self._epoll.poll(timeout):
            reader = self._readers.get(descriptor)
            if reader is not None:
                reader()
        now = time.monotonic()
        for deadline in [one for one in self._deadlines if one.at <= now]:
            self.cancel(deadline)
            deadline.action()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Python runs a handler for the signal only if there is one; the loop does the work."""
