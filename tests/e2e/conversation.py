"""Talking to a container's echo by a published port, as long as something else goes on."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.suite import Suite

BOUND_SECONDS = 60.0
PAUSE_SECONDS = 0.02

# linux/tcp.h: tcpi_total_retrans of struct tcp_info
_RETRANSMITTED = struct.Struct("=100xI")


class Conversation:
    """One connection to an echo, with a line every 20 ms, as long as a test goes on."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=BOUND_SECONDS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self.echoed = 0
        self.sent_again = 0
        """Segments, which a busy guest's late answer is enough for."""
        self.failure = ""
        self._thread.start()

    def _talk(self) -> None:
        try:
            with self._connection, self._connection.makefile("rb") as answers:
                while not self._ended.wait(PAUSE_SECONDS):
                    line = b"%d\n" % self.echoed
                    self._connection.sendall(line)
                    assert answers.readline() == line
                    self.echoed += 1
                told = self._connection.getsockopt(
                    socket.IPPROTO_TCP, socket.TCP_INFO, _RETRANSMITTED.size
                )
                (self.sent_again,) = _RETRANSMITTED.unpack(told)
        except (OSError, AssertionError) as error:
            self.failure = repr(error)

    def end(self) -> None:
        """Say no more."""
        self._ended.set()
        self._thread.join()


@contextmanager
def talking(suite: Suite, container: str) -> Iterator[Conversation]:
    """Talk to a container's echo by its published port."""
    port = int(suite.ok("port", container, "7/tcp").rpartition(":")[2])
    conversation = Conversation(port)
    try:
        yield conversation
    finally:
        conversation.end()
