"""Forks of a process with threads: Python's, as QEMU's are the same to the kernel."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hostagent.assembly import TEMPLATE_POWERS
from hostagent.forking.original import CannotFork, Confinement, Original, Replacement
from tests.unit.hostagent.forking.subject import AS_TEMPLATE, UID, Subject, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def subject() -> Iterator[Subject]:
    made = Subject()
    yield made
    made.end()


@contextmanager
def fork(original: Original, number: int) -> Iterator[tuple[int, socket.socket]]:
    """Fork a subject; yields the fork's ID and the way to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(60)
    born: list[int] = []
    null = os.stat(os.devnull)
    with ours, theirs:
        replacements = [Replacement([number], theirs.fileno())]
        shared = [(null.st_dev, null.st_ino)]
        original.fork(Confinement(UID, [6, 7, 8, 21]), replacements, shared, born.append)
        theirs.close()
        try:
            yield born[0], ours
        finally:
            with suppress(ProcessLookupError):
                os.kill(born[0], signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(born[0], 0)


def until_at_rest(pid: int) -> Original:
    """Hold a process; it may be on its way to where it waits, and waits for a CPU as we do."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return Original(pid)
        except CannotFork:
            assert time.monotonic() < deadline, "it never comes to rest"
            os.sched_yield()


def test_a_fork_goes_on_where_its_template_stands_threads_and_all(subject: Subject) -> None:
    assert ask(subject.socket, "first") == f"first 1 {os.getuid()} 2"
    with held(subject) as original, fork(original, subject.number) as (pid, channel):
        assert ask(channel, "second") == f"second 2 {UID} 2"
        assert len(os.listdir(f"/proc/{pid}/task")) == 2
        # Another begins where the first one began, not where that has come to.
        with fork(original, subject.number) as (_, other):
            assert ask(other, "second") == f"second 2 {UID} 2"
        assert ask(channel, "third") == f"third 3 {UID} 2"


def test_a_template_whose_powers_are_over_machines_alone_has_forks_without_any() -> None:
    subject = Subject(AS_TEMPLATE)
    try:
        with held(subject) as original, fork(original, subject.number) as (pid, channel):
            assert ask(channel, "on") == f"on 1 {UID} 2"
            users, powers = [], []
            for one in (subject.process.pid, pid):
                users.append(os.readlink(f"/proc/{one}/ns/user"))
                status = Path(f"/proc/{one}/status").read_text()
                fields = dict(line.split(":\t", 1) for line in status.splitlines())
                powers.append([int(fields[f"Cap{name}"], 16) for name in ("Eff", "Bnd", "Amb")])
            assert users[0] == users[1] != os.readlink("/proc/self/ns/user")
            assert powers == [[sum(1 << power for power in TEMPLATE_POWERS)] * 3, [0] * 3]
    finally:
        subject.end()


def test_a_fork_has_no_power_and_no_namespace_of_its_template(subject: Subject) -> None:
    with held(subject) as original, fork(original, subject.number) as (pid, channel):
        ask(channel, "on")
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert fields["Uid"].split() == [str(UID)] * 4
        assert fields["Gid"].split() == [str(UID)] * 4
        assert fields["Groups"].strip() == ""
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(fields[name], 16) == 0
        assert fields["Seccomp"] == "2"
        for kind in ("net", "ipc"):
            theirs = os.readlink(f"/proc/{pid}/ns/{kind}")
            assert theirs != os.readlink(f"/proc/{subject.process.pid}/ns/{kind}")


def test_what_both_would_have_in_common_is_refused_by_name(subject: Subject) -> None:
    with held(subject) as original, pytest.raises(CannotFork, match="descriptor 0 "):
        original.fork(Confinement(UID, []), [], [], lambda _pid: None)


def test_a_process_that_does_not_rest_is_refused() -> None:
    busy = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=-1
    )
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        with pytest.raises(CannotFork, match="rest"):
            Original(busy.pid)
    finally:
        busy.kill()
        busy.wait()


@contextmanager
def held(subject: Subject) -> Iterator[Original]:
    """Hold a subject."""
    original = until_at_rest(subject.process.pid)
    try:
        yield original
    finally:
        original.release()


def test_a_fork_whose_files_are_missing_is_ended(subject: Subject) -> None:
    born: list[int] = []
    nobodys = 1 << 20
    with held(subject) as original:
        null = os.stat(os.devnull)
        with pytest.raises(OSError, match="descriptor"):
            original.fork(
                Confinement(UID, []),
                [Replacement([subject.number], nobodys)],
                [(null.st_dev, null.st_ino)],
                born.append,
            )
        _, status = os.waitpid(born[0], 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        # The template can be forked as before.
        with fork(original, subject.number) as (_, channel):
            assert ask(channel, "again").startswith("again 1")
