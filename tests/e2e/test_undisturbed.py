"""Packets between containers, and to a published port, while the suite's processes are killed."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

ROLES = ("network", "exec", "interaction", "storage", "gateway", "hostagent")
BOUND_SECONDS = 60.0
PAUSE_SECONDS = 0.02
SEQUENCE = re.compile(r"seq=([0-9]+) ")


class Conversation:
    """One connection to an echo, with a line every 20 ms, as long as a test goes on."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=BOUND_SECONDS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self.echoed = 0
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


def test_no_packet_is_lost_while_every_process_is_killed_in_turn(suite: Suite, image: str) -> None:
    suite.ok("network", "create", "quiet")
    try:
        # The echo is there before its container is said to be: it holds the port from the start.
        echo = ("run", "-d", "--name", "echo", "--network", "quiet", "-p", "127.0.0.1::7")
        suite.ok(*echo, image, "sh", "-c", "echo ready; exec nc -ll -p 7 -e cat")
        suite.await_output("echo", "ready")
        pinger = ("run", "-d", "--name", "pinger", "--network", "quiet")
        suite.ok(*pinger, image, "ping", "-i", str(PAUSE_SECONDS), "echo")
        with talking(suite, "echo") as conversation:
            for role in ROLES:
                suite.kill(role)
            reached = conversation.echoed
        assert (conversation.failure, reached > 0) == ("", True)
        heard = [int(text) for text in SEQUENCE.findall(suite.ok("logs", "pinger"))]
        assert heard == list(range(len(heard)))
        assert len(heard) > len(ROLES)
    finally:
        suite.docker("rm", "--force", "echo", "pinger")
        suite.ok("network", "rm", "quiet")
