"""The forker: a process beside the agent that holds one template and forks it on demand.

Run as root with the template's process ID. Descriptor 3 is a SOCK_SEQPACKET socket to the agent:
the forker sends :data:`READY`, or what is wrong, and serves orders, one packet each with the
descriptors attached. It answers each with the fork's process ID as soon as there is one, and then
with :data:`READY` when the fork runs, or what went wrong. It ends with its socket, and the template
with it.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable

from hostagent.forking import ptrace
from hostagent.forking.original import CannotFork, Confinement, Original, Replacement
from hostagent.forking.ptrace import TraceError

CHANNEL = 3
READY = b"ready"
LONGEST_ORDER = 1 << 16
# How long a template may take to come to rest when it has been stopped: its CPUs stand still then,
# but a thread may still write an answer, or end a piece of I/O. In seconds.
REST_SECONDS = 10.0
REST_PAUSE = 0.01
_MOST_DESCRIPTORS = 64


def encode_order(
    uid: int,
    kept: list[int],
    numbers: list[list[int]],
    shared: list[tuple[int, int]],
) -> bytes:
    """Return an order. ``numbers`` are those of the descriptors that go with it, in their order."""
    return json.dumps({"uid": uid, "kept": kept, "numbers": numbers, "shared": shared}).encode()


def serve(channel: socket.socket, pid: int) -> None:
    """Serve until the agent closes the channel."""
    try:
        original = _hold(pid)
    except (CannotFork, TraceError, OSError) as error:
        channel.send(_sentence(error))
        return
    channel.send(READY)
    deaths = _Deaths(original.threads)
    while deaths.none_until(channel):
        message, descriptors, flags, _ = socket.recv_fds(channel, LONGEST_ORDER, _MOST_DESCRIPTORS)
        if not message:
            return
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise CannotFork("the order was cut off")
            _fork(channel, original, message, descriptors)
        except (CannotFork, TraceError, OSError, ValueError, KeyError) as error:
            channel.send(_sentence(error))
        else:
            channel.send(READY)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _hold(pid: int) -> Original:
    """Hold the template when it rests. Raises CannotFork, TraceError, OSError."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        try:
            return Original(pid)
        except CannotFork:
            if time.monotonic() > deadline:
                raise
        # A thread that has just been woken is on its way back; nothing tells of its arrival.
        time.sleep(REST_PAUSE)


class _Deaths:
    """Tells when the template ends: the kernel keeps it until we, who hold it, have seen that.

    So it does a fork that came to nothing, which is no reason to end the template.
    """

    def __init__(self, threads: Iterable[int]) -> None:
        self._threads = frozenset(threads)
        self._ours, theirs = os.pipe()
        for end in (self._ours, theirs):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)

    def none_until(self, channel: socket.socket) -> bool:
        """Wait for something to receive; False where a thread of the template ends before."""
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.register(self._ours, select.POLLIN)
        while True:
            if self._any_ended():
                return False
            ready = dict(poll.poll())
            if self._ours in ready:
                os.read(self._ours, 4096)
            elif ready:
                return True

    def _any_ended(self) -> bool:
        while True:
            try:
                tid, status = os.waitpid(-1, os.WNOHANG | ptrace.WALL)
            except ChildProcessError:
                return True
            if tid == 0:
                return False
            if tid in self._threads and not os.WIFSTOPPED(status):
                return True


def _fork(
    channel: socket.socket, original: Original, message: bytes, descriptors: list[int]
) -> None:
    order = json.loads(message)
    replacements = [
        Replacement(numbers, descriptor)
        for numbers, descriptor in zip(order["numbers"], descriptors, strict=True)
    ]
    original.fork(
        Confinement(order["uid"], order["kept"]),
        replacements,
        [(device, inode) for device, inode in order["shared"]],
        lambda pid: _tell(channel, pid),
    )


def _tell(channel: socket.socket, pid: int) -> None:
    channel.send(str(pid).encode())


def _sentence(error: Exception) -> bytes:
    return f"{type(error).__name__}: {error}".encode()[:2000]


def main() -> None:
    """Be the forker."""
    os.closerange(CHANNEL + 1, 4096)
    serve(socket.socket(fileno=CHANNEL), int(sys.argv[1]))


if __name__ == "__main__":
    main()
