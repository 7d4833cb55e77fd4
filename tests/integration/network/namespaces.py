"""Private network namespaces: nothing that a test does meets the host's own network."""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def fresh_namespace() -> Iterator[None]:
    """Put this thread, and what it starts meanwhile, into a namespace of its own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        run("ip", "link", "set", "lo", "up")
        yield
    finally:
        _check(_libc.setns(before, CLONE_NEWNET))
        os.close(before)


def run(*command: str, text: str | None = None) -> str:
    """Run a program in this thread's namespace and return what it printed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Outside:
    """A machine on the other end of a cable: another namespace, with an address."""

    def __init__(self, name: str, near: str, far: str, prefix: int = 24) -> None:
        # It ends with its standard input, so at the latest with us.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.read(1)
        self.address = far
        pid = str(self._holder.pid)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
        if near:
            run("ip", "addr", "add", f"{near}/{prefix}", "dev", name)
        run("ip", "link", "set", name, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "addr", "add", f"{far}/{prefix}", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def run(self, *command: str) -> str:
        """Run a program there."""
        return run("nsenter", "--net", "--target", str(self._holder.pid), *command)

    def socket(self, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
        """Return a socket that lives there."""
        made: list[socket.socket] = []

        def make() -> None:
            there = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
            try:
                _check(_libc.setns(there, CLONE_NEWNET))
                made.append(socket.socket(socket.AF_INET, kind))
            finally:
                os.close(there)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def close(self) -> None:
        """End it; the cable goes with it."""
        self._holder.communicate()
