"""`docker exec`: streams, exit codes, options, and what becomes of it with its container."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

# Of whatever has to happen while a test watches.
SOON = 120


@pytest.fixture
def busy(suite: Suite, image: str) -> str:
    """A container that runs until it is removed; by its name."""
    suite.ok("run", "-d", "--name", "busy", "-e", "GREETING=hello", image, "sleep", "100000")
    return "busy"


def test_streams_stay_apart_and_the_exit_code_passes_through(suite: Suite, busy: str) -> None:
    done = suite.docker("exec", busy, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_standard_input_reaches_the_process_with_its_end(suite: Suite, busy: str) -> None:
    assert suite.ok("exec", "-i", busy, "wc", "-l", stdin="a\nb\n") == "2"
    assert suite.ok("exec", busy, "wc", "-c", stdin="unseen") == "0"


def test_it_sees_the_containers_processes_and_files(suite: Suite, busy: str) -> None:
    suite.ok("exec", busy, "sh", "-c", "echo kept > /file")
    assert suite.ok("exec", busy, "cat", "/file") == "kept"
    names = suite.ok("exec", busy, "ps", "-o", "comm").split()
    assert "sleep" in names
    assert "python3" not in names


def test_user_directory_and_environment(suite: Suite, busy: str) -> None:
    options = ("-u", "nobody", "-w", "/tmp", "-e", "GREETING=bye", "-e", "MORE=1")
    script = "id -un; pwd; echo $GREETING $MORE $HOSTNAME"
    told = suite.ok("exec", *options, busy, "sh", "-c", script)
    host = suite.inspect(busy)["Id"][:12]
    assert told.splitlines() == ["nobody", "/tmp", f"bye 1 {host}"]
    assert suite.ok("exec", busy, "sh", "-c", "echo $GREETING") == "hello"


def test_privileged_has_all_capabilities(suite: Suite, busy: str) -> None:
    read = ("grep", "CapEff", "/proc/self/status")
    assert suite.ok("exec", busy, *read).split()[1] == "00000000a80425fb"
    assert int(suite.ok("exec", "--privileged", busy, *read).split()[1], 16) & (1 << 21)


def test_what_cannot_be_run_is_told(suite: Suite, busy: str) -> None:
    for options, command, code, why in (
        ((), "nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ((), "/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ((), "/etc", 126, 'exec: "/etc": is a directory'),
        (
            *(("-u", "nosuch"), "true", 126),
            "unable to find user nosuch: no matching entries in passwd file",
        ),
        (
            *(("-w", "/nosuch"), "true", 126),
            'chdir to cwd ("/nosuch") set in config.json failed: no such file or directory',
        ),
    ):
        done = suite.docker("exec", *options, busy, command)
        assert done.returncode == code
        assert why in done.stdout, done
        if not options:
            assert done.stdout.strip() == (
                "OCI runtime exec failed: exec failed: "
                f"unable to start container process: {why}: unknown"
            )
        suite.refused("exec", "-d", *options, busy, command, code=1, message=why)


def test_detached_it_runs_on(suite: Suite, busy: str) -> None:
    assert suite.ok("exec", "-d", busy, "sh", "-c", "mkfifo /pipe; echo went on > /pipe") == ""
    wait = "until [ -p /pipe ]; do :; done; cat /pipe"
    assert suite.ok("exec", busy, "sh", "-c", wait) == "went on"


def test_a_terminal_has_a_size_takes_keys_and_gives_the_exit_code(suite: Suite, busy: str) -> None:
    terminal, theirs = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    process = suite.popen("exec", "-it", busy, "sh", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        os.write(terminal, b"tty; stty size; echo $TERM; exit 9\n")
        shown = _all_of(terminal)
        assert process.wait(SOON) == 9
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    lines = shown.splitlines()
    assert any(line.startswith("/dev/pts/") for line in lines)
    assert "33 99" in lines
    assert "xterm" in lines


def _all_of(terminal: int) -> str:
    shown = bytearray()
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            return shown.decode().replace("\r\n", "\n")
        if not data:
            return shown.decode().replace("\r\n", "\n")
        shown += data


def test_containers_that_do_not_run_refuse(suite: Suite, image: str) -> None:
    suite.ok("run", "--name", "ended", image, "true")
    stopped = suite.inspect("ended")["Id"]
    message = f"container {stopped} is not running"
    suite.refused("exec", "ended", "true", code=1, message=message)
    suite.refused("exec", "nope", "true", code=1, message="No such container: nope")


def test_it_ends_with_its_container(suite: Suite, busy: str) -> None:
    process = suite.popen(
        "exec", busy, "sh", "-c", "echo running; exec sleep 1000", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"running\n"
        exec_ids = suite.inspect(busy)["ExecIDs"]
        assert len(exec_ids) == 1
        # The container takes no notice of SIGTERM, as any first process that doesn't care.
        suite.ok("stop", "--time", "1", busy)
        assert process.wait(SOON) == 137
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    status, told = suite.api("GET", f"/exec/{exec_ids[0]}/json")
    assert (status, told["Running"], told["ExitCode"]) == (200, False, 137)
    assert suite.inspect(busy)["ExecIDs"] is None


def test_ten_at_once_give_ten_right_answers(suite: Suite, busy: str) -> None:
    def run(number: int) -> tuple[str, str, int]:
        script = f"echo out {number}; echo err {number} >&2; exit {number}"
        done = suite.docker("exec", busy, "sh", "-c", script)
        return done.stdout, done.stderr, done.returncode

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(run, range(10)))
    assert answers == [(f"out {n}\n", f"err {n}\n", n) for n in range(10)]


def test_it_outlives_a_restart_of_everything_between(suite: Suite, busy: str) -> None:
    status, made = suite.api(
        "POST",
        f"/containers/{busy}/exec",
        json.dumps({"Cmd": ["sh", "-c", "mkfifo /go; cat /go; exit 5"]}).encode(),
    )
    assert status == 201
    start = json.dumps({"Detach": True}).encode()
    assert suite.api("POST", f"/exec/{made['Id']}/start", start)[0] == 200
    for role in ("interaction", "gateway"):
        suite.kill(role)
    assert suite.api("GET", f"/exec/{made['Id']}/json")[1]["Running"]
    suite.ok("exec", busy, "sh", "-c", "until [ -p /go ]; do :; done; echo > /go")
    suite.ok("exec", busy, "sh", "-c", "while pgrep cat; do :; done")

    def code() -> int | None:
        told: int | None = suite.api("GET", f"/exec/{made['Id']}/json")[1]["ExitCode"]
        return told

    assert _eventually(code) == 5


def _eventually(look: Callable[[], int | None]) -> int:
    """Ask until there is an answer; the test's own timeout bounds it."""
    while (answer := look()) is None:
        pass
    return answer
