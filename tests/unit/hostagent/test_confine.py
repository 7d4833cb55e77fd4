"""The order that a launcher gets."""

import array
import os
import socket
import subprocess
import sys

import pytest

from hostagent import confine


def test_an_order_arrives_as_it_was_sent() -> None:
    argv = ["/usr/bin/qemu", "-append", "a b=c,d", '{"x": "\\u00e9"}', ""]
    order = (1_900_001_001, 2, {"CORE": 0, "FSIZE": 1 << 40}, [6, 21], argv)
    assert confine.decode(confine.encode(*order)) == order


def test_descriptors_come_with_it() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sent = [os.open("/", os.O_RDONLY) for _ in range(confine.MOST_DESCRIPTORS)]
    socket.send_fds(ours, [b"order"], sent)
    message, received = confine.receive(theirs)
    assert message == b"order"
    assert len(received) == len(sent)
    assert all(os.path.sameopenfile(a, b) for a, b in zip(sent, received, strict=True))
    for descriptor in (*sent, *received):
        os.close(descriptor)
    ours.close()
    with pytest.raises(SystemExit):
        confine.receive(theirs)
    theirs.close()


def test_an_order_that_is_too_long_is_refused() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE, or fail as no root
    ours.sendmsg([bytes(confine.LONGEST_ORDER + 1)])
    with pytest.raises(ValueError, match="cut off"):
        confine.receive(theirs)
    ours.close()
    theirs.close()


def test_it_sees_the_standard_library_and_itself_alone() -> None:
    program = [*confine.PROGRAM[:-1], confine.PROGRAM[-1].replace("confine.main()", SHOW)]
    result = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, check=True, env={}
    )
    names = set(result.stdout.split())
    assert {"portlayer", "grpc", "hostagent", "socket", "json", "typing"}.isdisjoint(names)


SHOW = "print(*sys.modules)"


def test_the_longest_chain_fits_into_an_order() -> None:
    from hostagent.machine import LONGEST_CHAIN, NICS

    assert LONGEST_CHAIN + NICS + 10 < confine.MOST_DESCRIPTORS
    assert array.array("i").itemsize == 4
