"""Packets between containers, and to a published port, while the suite's processes are killed."""

import re

import pytest

from tests.e2e.conversation import PAUSE_SECONDS, talking
from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

ROLES = ("network", "exec", "interaction", "storage", "gateway", "hostagent")
SEQUENCE = re.compile(r"seq=([0-9]+) ")


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
