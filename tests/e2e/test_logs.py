"""`docker logs`: the bytes that were written, whatever they are, and while everything restarts."""

import hashlib
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

MEBIBYTE = 1024 * 1024
# Of whatever has to happen while a test watches.
SOON = 120

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


def test_a_log_is_rotated_and_sent_to_a_syslog_server(suite: Suite, image: str) -> None:
    lines = 5000
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = (
            *("--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{port}"),
            *("--log-opt", "tag=many", "--log-opt", "syslog-format=rfc5424micro"),
            *("--log-opt", "max-size=10k", "--log-opt", "max-file=2"),
        )
        script = f"seq 1 {lines} | while read n; do echo line $n; done"
        suite.ok("run", "-d", "--name", "rotated", *options, image, "sh", "-c", script)
        server.settimeout(SOON)
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as received:
            connection.settimeout(SOON)
            sent = [next(received) for _ in range(lines)]
    assert [line.rsplit(b" ", 2)[-2:] for line in sent] == [
        [b"line", b"%d\n" % number] for number in range(1, lines + 1)
    ]
    assert all(b" many " in line for line in sent)
    assert suite.ok("wait", "rotated") == "0"
    kept = [int(line.split()[1]) for line in suite.ok("logs", "rotated").splitlines()]
    assert kept == list(range(kept[0], lines + 1))
    # Two files of 10 KB, their frames' heads included, and what one write may be above that.
    assert 1 < kept[0] < lines
    log = suite.data_dir / "interaction/logs" / suite.inspect("rotated")["Id"]
    assert len(list(log.iterdir())) == 2


def test_who_follows_misses_nothing_while_services_restart_and_ends_with_the_container(
    suite: Suite, image: str
) -> None:
    script = (
        'i=0; while [ ! -e /stop ]; do i=$((i+1)); echo "line $i"; usleep 20000; done; echo end'
    )
    suite.ok("run", "-d", "--name", "chatty", image, "sh", "-c", script)
    following = suite.popen("logs", "--follow", "chatty", stdout=subprocess.PIPE)
    attached = suite.popen(
        *("attach", "--no-stdin", "chatty"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert following.stdout is not None
    assert attached.stdout is not None
    assert attached.stderr is not None
    try:
        read = [following.stdout.readline() for _ in range(20)]
        live = [attached.stdout.readline() for _ in range(20)]
        suite.kill("interaction")
        # Who was attached is told, having seen each line once and in order. The docker CLI goes
        # on to wait for the container's end.
        assert attached.stderr.readline().startswith(b"vic: this client was cut off: ")
        attached.kill()
        live += attached.stdout.readlines()
        read += [following.stdout.readline() for _ in range(20)]
        for role in ("exec", "network", "storage"):
            suite.kill(role)
            read += [following.stdout.readline() for _ in range(20)]
        # It ends with the run that it follows.
        suite.ok("restart", "--time", "0", "chatty")
        read += following.stdout.readlines()
        assert following.wait(SOON) == 0
    finally:
        for process in (following, attached):
            process.kill()
            process.wait()
        for pipe in (following.stdout, attached.stdout, attached.stderr):
            pipe.close()
    assert read == [b"line %d\n" % number for number in range(1, len(read) + 1)]
    first = int(live[0].split()[1])
    assert live == [b"line %d\n" % number for number in range(first, first + len(live))]

    # Who attaches again is on the streams of the next run, to its end.
    attached = suite.popen("attach", "--no-stdin", "chatty", stdout=subprocess.PIPE)
    assert attached.stdout is not None
    with attached.stdout:
        live = [attached.stdout.readline()]
        suite.ok("exec", "chatty", "touch", "/stop")
        live += attached.stdout.readlines()
        assert attached.wait(SOON) == 0
    assert live[-1] == b"end\n"
    # All of it is there for who comes later, of both runs, and after a restart.
    suite.kill("interaction")
    told = suite.ok("logs", "chatty").encode().splitlines(keepends=True)
    assert told[: len(read)] == read
    again = told[len(read) :]
    assert again == [*(b"line %d\n" % number for number in range(1, len(again))), b"end"]
    assert again[-len(live) : -1] == live[:-1]
