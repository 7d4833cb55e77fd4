"""The order that a launcher gets."""

import array
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hostagent import confine
from hostagent.taps import create_tap


def test_an_order_arrives_as_it_was_sent() -> None:
    argv = ["/usr/bin/qemu", "-append", "a b=c,d", '{"x": "\\u00e9"}', ""]
    order = (1_900_001_001, 2, {"CORE": 0, "FSIZE": 1 << 40}, [6, 21], (1_900_001_000, 9), argv)
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


def run_confined(program: str, *arguments: str, descriptors: tuple[int, ...] = ()) -> list[str]:
    """Run a program in place of the module's own; return the words that it says."""
    code = confine.PROGRAM[-1].replace("confine.main()", program)
    result = subprocess.run(
        [sys.executable, *confine.PROGRAM[:-1], code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={},
        pass_fds=descriptors,
    )
    return result.stdout.split()


# Each request with an argument that changes something; the last two are QEMU's own.
CHANGE_TAP = """
import fcntl, struct
confine.drop_powers(1_900_001_000)
if sys.argv[2] == "kept":
    confine.keep_taps_as_they_are()
for request, argument in (
    (confine.TUNSETPERSIST, 1),
    (confine.TUNSETOWNER, 1),
    (confine.TUNSETGROUP, 1),
    (confine.TUNSETLINK, 1),
    (confine.SIOCSIFHWADDR, struct.pack("16sH6s16x", b"", 1, bytes.fromhex("020000000001"))),
    (0x400454D4, struct.pack("i", 0x7FFFFFFF)),
    (0x400454D0, 1),
):
    try:
        fcntl.ioctl(int(sys.argv[1]), request, argument)
        print("done")
    except PermissionError:
        print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_machine_can_not_leave_its_tap_behind_nor_give_it_anothers_address() -> None:
    name = "vt255-00c0de"
    tap = create_tap(name)
    try:
        address = Path(f"/sys/class/net/{name}/address")
        before = address.read_text()
        said = run_confined(CHANGE_TAP, str(tap), "kept", descriptors=(tap,))
        assert said == ["refused"] * 5 + ["done"] * 2
        assert address.read_text() == before
    finally:
        os.close(tap)
    assert not address.exists()


FIRST, COUNT = 1_900_001_000, 64_536
# A file system of its own in namespaces of its own, and then all devices of the host.
ATTACK = """
grep CapEff /proc/self/status
cat /proc/self/uid_map /proc/self/gid_map
unshare -m sh -c '
    mount -t tmpfs own /mnt && echo mounted
    mount -t devtmpfs all /mnt && ls /mnt
    setpriv --reuid 0 id -u
    setpriv --reuid 1900001001 id -u
' 2>/dev/null
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_powers_that_are_kept_are_powers_over_machines_users_alone() -> None:
    kept = f"""
confine.own_users({FIRST}, {COUNT})
confine.drop_powers({FIRST}, (6, 7, 8, 21))
import os
os.execve("/bin/sh", ["sh", "-c", {ATTACK!r}], {{"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}})
"""
    assert run_confined(kept) == [
        *("CapEff:", f"{1 << 6 | 1 << 7 | 1 << 8 | 1 << 21:016x}"),
        *(str(number) for number in (FIRST, FIRST, COUNT) * 2),
        "mounted",
        "1900001001",
    ]


def test_the_longest_chain_fits_into_an_order() -> None:
    from hostagent.machine import LONGEST_CHAIN, NICS

    assert LONGEST_CHAIN + NICS + 10 < confine.MOST_DESCRIPTORS
    assert array.array("i").itemsize == 4
