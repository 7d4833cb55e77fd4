"""The forker: a process beside the agent that holds one template and forks it on demand.

Run as root with the template's process ID. Descriptor 3 is a SOCK_SEQPACKET socket to the agent:
the forker sends :data:`READY`, or what is wrong, and serves orders, one packet each with the
descriptors attached. It answers each with the fork's process ID as soon as there is one, and then
with :data:`READY` when the fork runs, or what went wrong. It ends with its socket, and the template
with it.
"""

import json
import os
import socket
import sys

from hostagent.forking.original import CannotFork, Confinement, Original, Replacement
from hostagent.forking.ptrace import TraceError

CHANNEL = 3
READY = b"ready"
LONGEST_ORDER = 1 << 16
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
        original = Original(pid)
    except (CannotFork, TraceError, OSError) as error:
        channel.send(_sentence(error))
        return
    channel.send(READY)
    while True:
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
