"""`docker logs`: the bytes that were written, whatever they are, and while everything restarts."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

MEBIBYTE = 1024 * 1024

# Ten kinds of output, each by a command and as the bytes that it writes.
KINDS: list[tuple[str, bytes]] = [
    ("echo a line", b"a line\n"),
    (f"head -c {MEBIBYTE} /dev/zero | tr '\\0' x; echo", b"x" * MEBIBYTE + b"\n"),
    ("head -c 16383 /dev/zero | tr '\\0' y; echo", b"y" * 16383 + b"\n"),
    ("head -c 16385 /dev/zero | tr '\\0' z; echo", b"z" * 16385 + b"\n"),
    ("head -c 300000 /bin/busybox", Path("/bin/busybox").read_bytes()[:300_000]),
    ("seq 1 20000", b"".join(b"%d\n" % number for number in range(1, 20_001))),
    ("printf '\\303'; printf '\\244\\n'", "ä\n".encode()),
    ("printf '\\n\\n\\n'", b"\n\n\n"),
    ("printf 'a\\0b\\r\\n'", b"a\0b\r\n"),
    ("printf 'no end'", b"no end"),
]
ON_STDERR = 'for i in $(seq 1 50); do echo "out $i"; echo "err $i" >&2; done'


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_ten_kinds_of_output_are_kept_to_the_byte(suite: Suite, image: str) -> None:
    script = "; ".join([ON_STDERR, *(command for command, _ in KINDS)])
    out = b"".join(b"out %d\n" % number for number in range(1, 51))
    out += b"".join(written for _, written in KINDS)
    err = b"".join(b"err %d\n" % number for number in range(1, 51))

    def run(*arguments: str) -> tuple[str, str]:
        process = suite.popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        told, said = process.communicate(timeout=300)
        assert process.returncode == 0
        return digest(told), digest(said)

    expected = digest(out), digest(err)
    assert run("run", "--name", "kinds", image, "sh", "-c", script) == expected
    assert run("logs", "kinds") == expected
    suite.ok("run", "--name", "silent", image, "true")
    assert suite.ok("logs", "silent") == ""


def test_who_follows_misses_nothing_while_services_restart_and_ends_with_the_container(
    suite: Suite, image: str
) -> None:
    script = (
        'i=0; while [ ! -e /stop ]; do i=$((i+1)); echo "line $i"; usleep 20000; done; echo end'
    )
    suite.ok("run", "-d", "--name", "chatty", image, "sh", "-c", script)
    following = suite.popen("logs", "--follow", "chatty", stdout=subprocess.PIPE)
    assert following.stdout is not None
    try:
        read = [following.stdout.readline() for _ in range(20)]
        for role in ("interaction", "exec", "network", "storage"):
            suite.kill(role)
            read += [following.stdout.readline() for _ in range(20)]
        suite.ok("exec", "chatty", "touch", "/stop")
        read += following.stdout.readlines()
        assert following.wait(120) == 0
    finally:
        following.kill()
        following.wait()
        following.stdout.close()
    assert read[-1] == b"end\n"
    assert read[:-1] == [b"line %d\n" % number for number in range(1, len(read))]
    # All of it is there for who comes later, once more after the next run, and after a restart.
    suite.ok("start", "--attach", "chatty")
    suite.kill("interaction")
    assert suite.ok("logs", "chatty") == b"".join(read).decode() + "end"
