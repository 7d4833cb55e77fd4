"""`docker run`: streams, exit codes, options, and what the workload sees."""

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

MEBIBYTE = 1024 * 1024


def test_streams_stay_apart_and_the_exit_code_passes_through(suite: Suite, image: str) -> None:
    done = suite.docker("run", "--rm", image, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_twenty_at_once_give_twenty_right_answers(suite: Suite, image: str) -> None:
    def run(number: int) -> tuple[str, str, int]:
        script = f"echo out {number}; echo err {number} >&2; exit {number}"
        done = suite.docker("run", "--rm", image, "sh", "-c", script)
        return done.stdout, done.stderr, done.returncode

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(run, range(20)))
    assert answers == [(f"out {n}\n", f"err {n}\n", n) for n in range(20)]
    assert suite.ok("ps", "--all", "--quiet") == ""


def test_standard_input_reaches_the_process_with_its_end(suite: Suite, image: str) -> None:
    assert suite.ok("run", "--rm", "-i", image, "wc", "-l", stdin="a\nb\n") == "2"


def test_without_i_standard_input_is_empty(suite: Suite, image: str) -> None:
    assert suite.ok("run", "--rm", image, "wc", "-c", stdin="unseen") == "0"


def test_a_hundred_megabytes_come_back_as_they_went_in(
    suite: Suite, image: str, tmp_path: Path
) -> None:
    block = hashlib.sha256(b"seed").digest() * (MEBIBYTE // 32)
    sent, received = hashlib.sha256(), hashlib.sha256()
    source = tmp_path / "input"
    with source.open("wb") as file:
        for number in range(100):
            part = number.to_bytes(4, "big") + block[4:]
            file.write(part)
            sent.update(part)
    with source.open("rb") as stdin:
        process = suite.popen(
            "run", "--rm", "-i", image, "cat", stdin=stdin, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        size = 0
        while part := process.stdout.read(MEBIBYTE):
            received.update(part)
            size += len(part)
        assert process.wait(300) == 0
    assert size == 100 * MEBIBYTE
    assert received.digest() == sent.digest()


def test_the_command_is_process_1_and_sees_nothing_of_ours(suite: Suite, image: str) -> None:
    lines = suite.ok("run", "--rm", image, "ps", "-o", "pid,comm").splitlines()
    assert [line.split() for line in lines] == [["PID", "COMMAND"], ["1", "ps"]]


def test_it_has_a_kernel_of_its_own(suite: Suite, image: str) -> None:
    assert suite.ok("run", "--rm", image, "uname", "-v") != os.uname().version


@pytest.mark.parametrize(("asked", "seen"), [("1", "1"), ("1.5", "2"), ("2", "2")])
def test_it_sees_the_cpus_asked_for_rounded_up(
    suite: Suite, image: str, asked: str, seen: str
) -> None:
    assert suite.ok("run", "--rm", "--cpus", asked, image, "nproc") == seen


def test_the_workloads_memory_bound_is_what_was_asked_for(suite: Suite, image: str) -> None:
    read = "cat /sys/fs/cgroup/memory.max"
    assert suite.ok("run", "--rm", "-m", "64m", image, "sh", "-c", read) == str(64 * MEBIBYTE)


def test_eating_more_memory_kills_the_workload_and_not_the_tether(suite: Suite, image: str) -> None:
    eat = "x=0123456789abcdef; while :; do x=$x$x; done"
    name = suite.ok(
        "run", "-d", "-m", "32m", image, "sh", "-c", f"echo begun; sh -c '{eat}'; exit $?"
    )
    assert suite.ok("wait", name) == "137"
    state = suite.inspect(name)["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    assert suite.ok("logs", name) == "begun"


def test_environment_and_directory(suite: Suite, image: str) -> None:
    script = "echo $GREETING $EMPTY.; pwd"
    told = suite.ok(
        "run", "--rm", "-e", "GREETING=hi", "-e", "EMPTY=", "-w", "/tmp", image, "sh", "-c", script
    )
    assert told == "hi .\n/tmp"


def test_the_process_knows_its_host_name_and_terminal(suite: Suite, image: str) -> None:
    script = "echo $HOSTNAME $TERM."
    assert suite.ok("run", "--rm", "-h", "box", image, "sh", "-c", script) == "box ."
    assert suite.ok("run", "--rm", "-t", "-h", "box", image, "sh", "-c", script) == "box xterm."


def test_a_missing_working_directory_is_made(suite: Suite, image: str) -> None:
    assert suite.ok("run", "--rm", "-w", "/brand/new", image, "pwd") == "/brand/new"


def test_entrypoint_and_command(suite: Suite, image: str) -> None:
    assert suite.ok("run", "--rm", "--entrypoint", "echo", image, "a", "b") == "a b"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("nobody", "65534 65534"),
        ("2000", "2000 0"),
        ("2000:3000", "2000 3000"),
        ("0:nogroup", "0 65534"),
    ],
)
def test_users_are_the_images(suite: Suite, image: str, user: str, expected: str) -> None:
    told = suite.ok("run", "--rm", "-u", user, image, "sh", "-c", "echo $(id -u) $(id -g)")
    assert told == expected


def test_host_name_hosts_file_and_name_servers(suite: Suite, image: str) -> None:
    script = "hostname; cat /etc/hostname; grep -c tidy /etc/hosts; cat /etc/resolv.conf /etc/hosts"
    options = ["-h", "tidy", "--add-host", "db:10.1.2.3", "--add-host", "host:host-gateway"]
    options += ["--dns", "192.0.2.53", "--dns-search", "example.org", "--dns-opt", "ndots:3"]
    told = suite.ok("run", "--rm", *options, image, "sh", "-c", script).splitlines()
    assert told[:3] == ["tidy", "tidy", "1"]
    lines = [line.split() for line in told[3:]]
    gateway = suite.ok("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    for line in (
        ["nameserver", "192.0.2.53"],
        ["search", "example.org"],
        ["options", "ndots:3"],
        ["10.1.2.3", "db"],
        [gateway, "host"],
    ):
        assert lines.count(line) == 1, (line, told)
    assert sum(line[:1] == ["nameserver"] for line in lines) == 1


def test_a_container_is_marked_as_one_of_dockers(suite: Suite, image: str) -> None:
    script = "stat -c '%a %s' /.dockerenv; readlink /etc/mtab; grep -c ' / ' /etc/mtab"
    told = suite.ok("run", "--name", "marked", "--read-only", image, "sh", "-c", script)
    assert told.splitlines() == ["755 0", "/proc/mounts", "1"]
    assert suite.ok("diff", "marked") == ""
    suite.ok("rm", "marked")


def test_without_a_name_the_host_is_called_by_the_short_id(suite: Suite, image: str) -> None:
    container = suite.ok("create", image, "hostname")
    assert suite.ok("start", "-a", container) == container[:12]


def test_names_labels_and_the_id_file(suite: Suite, image: str, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    options = ["--name", "labelled", "-l", "tier=front", "--cidfile", str(file)]
    suite.ok("run", *options, image, "true")
    found = suite.inspect("labelled")
    assert found["Id"] == file.read_text()
    assert found["Name"] == "/labelled"
    assert found["Config"]["Labels"] == {"tier": "front"}


def test_pull_always_and_never(suite: Suite, image: str) -> None:
    assert suite.ok("run", "--rm", "--pull", "always", image, "echo", "there").endswith("there")
    assert suite.ok("run", "--rm", "--pull", "never", image, "echo", "there") == "there"


def test_stop_signal_and_timeout(suite: Suite, image: str) -> None:
    script = "trap 'echo told; exit 5' USR1; echo ready; while :; do sleep 1 & wait; done"
    options = ["-d", "--stop-signal", "SIGUSR1", "--stop-timeout", "60"]
    name = suite.ok("run", *options, image, "sh", "-c", script)
    suite.await_output(name, "ready")
    suite.ok("stop", name)
    assert suite.inspect(name)["State"]["ExitCode"] == 5
    assert suite.ok("logs", name) == "ready\ntold"


def test_what_ignores_the_signal_is_killed_after_the_timeout(suite: Suite, image: str) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    name = suite.ok("run", "-d", "--stop-timeout", "1", image, "sh", "-c", script)
    suite.await_output(name, "ready")
    suite.ok("stop", name)
    assert suite.inspect(name)["State"]["ExitCode"] == 137


def test_a_terminal(suite: Suite, image: str) -> None:
    told = suite.ok("run", "--rm", "-t", image, "sh", "-c", "test -t 0 && test -t 1 && echo tty")
    assert told.strip() == "tty"


@pytest.mark.parametrize("code", [0, 1, 2, 42, 125, 126, 127, 128, 255])
def test_exit_codes_are_exact(suite: Suite, image: str, code: int) -> None:
    assert suite.docker("run", "--rm", image, "sh", "-c", f"exit {code}").returncode == code


def test_death_by_a_signal_is_128_and_its_number(suite: Suite, image: str) -> None:
    name = suite.ok("run", "-d", image, "sleep", "1000")
    suite.ok("kill", "-s", "KILL", name)
    assert suite.ok("wait", name) == "137"
