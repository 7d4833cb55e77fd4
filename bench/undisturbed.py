"""A minute of pings, and of TCP and UDP by published ports, while every service is killed in turn.

python -m bench.undisturbed --seconds 60

One container pings another ten times as often as ping(8) would; the host talks to that one's echo
over one connection and by datagrams, each of them awaited. Every process of the suite is killed and
started again, one after the other, until the time is over. The exit code is 1 where a packet was
lost.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.subject import suite_with
from tests.e2e.conversation import PAUSE_SECONDS, Conversation, talking
from tests.e2e.suite import Suite
from tests.images import Image, Layer, busybox_image, file, make_tar

ECHO = Path(__file__).parent / "echo/echo.go"
ROLES = ("network", "exec", "interaction", "storage", "gateway", "hostagent")
SEQUENCE = re.compile(r"seq=([0-9]+) ")
# A datagram whose answer takes longer than that on a busy machine is lost.
ANSWER_SECONDS = 10.0


class Datagrams:
    """Datagrams to an echo, one every 20 ms, each of them awaited."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(ANSWER_SECONDS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self.sent = 0
        self.failures: Counter[str] = Counter()
        self._thread.start()

    def _talk(self) -> None:
        with self._socket:
            while not self._ended.wait(PAUSE_SECONDS):
                data = b"%d" % self.sent
                self.sent += 1
                try:
                    self._socket.send(data)
                    # One that was late comes before it.
                    while int(self._socket.recv(100)) != self.sent - 1:
                        pass
                except OSError as error:
                    self.failures[str(error)] += 1

    def end(self) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join()


def echo_image() -> Image:
    """Return busybox with the echo, which is compiled."""
    with tempfile.TemporaryDirectory() as made:
        program = Path(made, "echo")
        environment = os.environ | {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": made}
        build = ["go", "build", "-ldflags=-s -w", "-o", str(program), str(ECHO)]
        subprocess.run(build, check=True, env=environment)
        layer = Layer(make_tar([file("bin/echo7", program.read_bytes(), mode=0o755)]))
    base = busybox_image()
    return Image((*base.layers, layer), base.config)


@contextmanager
def datagrams(suite: Suite, container: str) -> Iterator[Datagrams]:
    """Send datagrams to a container's echo by its published port."""
    port = int(suite.ok("port", container, "7/udp").rpartition(":")[2])
    conversation = Datagrams(port)
    try:
        yield conversation
    finally:
        conversation.end()


def killed(suite: Suite, seconds: float) -> Counter[str]:
    """Kill one process after the other as long as it is told; returns how often which."""
    kills: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or len(kills) < len(ROLES):
        role = ROLES[kills.total() % len(ROLES)]
        suite.kill(role)
        kills[role] += 1
        print(f"killed {role}, which serves again", flush=True)
    return kills


def main() -> int:
    """Run it, and tell what was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="(default: %(default)s)")
    arguments = parser.parse_args()
    with suite_with(echo_image(), "echo") as (suite, image):
        suite.ok("network", "create", "quiet")
        published = ("-p", "127.0.0.1::7", "-p", "127.0.0.1::7/udp")
        suite.ok("run", "-d", "--name", "echo", "--network", "quiet", *published, image, "echo7")
        suite.await_output("echo", "ready")
        ping = ("ping", "-i", str(PAUSE_SECONDS), "echo")
        suite.ok("run", "-d", "--name", "pinger", "--network", "quiet", image, *ping)
        begun = time.monotonic()
        with talking(suite, "echo") as by_tcp, datagrams(suite, "echo") as by_udp:
            kills = killed(suite, arguments.seconds)
        seconds = time.monotonic() - begun
        heard = [int(text) for text in SEQUENCE.findall(suite.ok("logs", "pinger"))]
        suite.ok("rm", "--force", "echo", "pinger")
    return told(seconds, kills, heard, by_tcp, by_udp)


def told(
    seconds: float, kills: Counter[str], heard: list[int], by_tcp: Conversation, by_udp: Datagrams
) -> int:
    """Say what came of it; returns 1 where something was lost."""
    lost = heard[-1] + 1 - len(heard) if heard else 1
    times = ", ".join(f"{role} {count}" for role, count in kills.items())
    print(f"{seconds:.0f} s; killed: {times}")
    print(f"pings: {len(heard)} answered, {lost} lost")
    print(
        f"TCP: {by_tcp.echoed} lines echoed on one connection, {by_tcp.sent_again} segments sent "
        f"again {by_tcp.failure}"
    )
    print(f"UDP: {by_udp.sent} datagrams, lost: {dict(by_udp.failures) or 'none'}")
    whole = lost == 0 and heard == sorted(heard) and not by_tcp.failure and not by_udp.failures
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
