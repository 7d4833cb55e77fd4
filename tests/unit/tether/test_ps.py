"""The list of processes: ps's options and ps's ways to write values."""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from vic.tether.v1.tether_pb2 import TopCommand

from tether.agent.listing import process_list
from tether.agent.ps import PsError, View, columns, rows, terminal_name
from tether.agent.tasks import Task, Tasks

NOW = 1_800_000_000.0

TASK = Task(
    pid=42,
    parent=1,
    group=42,
    session=42,
    terminal=0x8803,
    terminal_group=42,
    state="S",
    flags=0x400100,
    user=0,
    group_id=0,
    real_user=1000,
    real_group_id=1000,
    priority=20,
    nice=0,
    threads=2,
    processor=1,
    cpu_seconds=61.5,
    started=NOW - 600,
    elapsed=600.0,
    virtual_bytes=8 * 1024 * 1024,
    resident_bytes=1024 * 1024,
    locked=False,
    name="nginx",
    command="nginx: master process",
    waits_in="0",
)
VIEW = View(NOW, 64 * 1024 * 1024, {0: "root"})


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        ("", "UID PID PPID C STIME TTY TIME CMD"),
        ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
        ("-e -f", "UID PID PPID C STIME TTY TIME CMD"),
        ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("ax", "PID TTY STAT TIME COMMAND"),
        ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("-axo pid,comm", "PID COMMAND"),
        ("-e", "PID TTY TIME CMD"),
        ("-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
        ("-o pid,comm", "PID COMMAND"),
        ("-eo pid,%cpu,args", "PID %CPU COMMAND"),
        ("--format=user,pid", "USER PID"),
        ("-o pid -o ppid=MUM", "PID MUM"),
    ],
)
def test_options_choose_columns(options: str, titles: str) -> None:
    assert [column.title for column in columns(options.split())] == titles.split()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("-o comm", "Couldn't find PID"),
        ("-o pid=ID", "Couldn't find PID"),
        ("-o", "must follow"),
        ("-o pid,colour", '"colour"'),
        ("-eZ", "unknown option Z"),
        ("--sort=pid", "unknown option --sort=pid"),
        ("-u root", "unknown option"),
        ("-ef aux", "conflicting"),
        ("1", "unknown option 1"),
    ],
)
def test_what_is_not_known_is_refused_by_name(options: str, why: str) -> None:
    with pytest.raises(PsError, match=why):
        columns(options.split())


def test_values_are_written_as_ps_writes_them() -> None:
    def row(options: str) -> list[str]:
        return rows(columns(options.split()), [TASK], VIEW)[0]

    assert row("-ef")[:4] == ["root", "42", "1", "10"]
    assert row("-ef")[5:] == ["pts/3", "00:01:01", "nginx: master process"]
    aux = row("aux")
    assert aux[:7] == ["root", "42", "10.2", "1.6", "8192", "1024", "pts/3"]
    assert (aux[7], aux[9]) == ("Ssl+", "1:01")
    assert row("-o pid,ruser,etime,stat,comm") == ["42", "1000", "10:00", "Ssl+", "nginx"]


def test_terminals_have_their_names() -> None:
    assert [terminal_name(n) for n in (0, 0x8800, 0x8901, 0x0401, 0x0440)] == [
        "?",
        "pts/0",
        "pts/257",
        "tty1",
        "ttyS0",
    ]


def test_processes_of_the_kernel_are_read_and_listed(tmp_path: Path) -> None:
    """A cgroup directory in a test's hands, the kernel's own /proc."""
    child = subprocess.Popen(["cat", "-u"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        # Its arguments are seen a moment after it has been executed.
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"there\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"there\n"
        below = tmp_path / "below"
        below.mkdir()
        (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n999999999\n")
        (below / "cgroup.procs").write_text(f"{child.pid}\n")
        found = {task.pid: task for task in Tasks(cgroup=tmp_path).read()}
        assert found.keys() == {os.getpid(), child.pid}
        assert found[child.pid].parent == os.getpid()
        assert found[child.pid].command == "cat -u"
        parts = list(process_list(TopCommand(command_id=7), os.getpid(), Tasks(cgroup=tmp_path)))
        assert parts[-1].complete
        assert {part.command_id for part in parts} == {7}
        assert [row.columns[1] for part in parts for row in part.rows] == [
            str(pid) for pid in sorted(found)
        ]
        assert Tasks().user_names(child.pid)[0] == "root"
    finally:
        child.kill()
        child.communicate()


def test_the_init_process_is_as_old_as_its_container(tmp_path: Path) -> None:
    """It waited as a process of the kernel's long before anybody knew of a container."""
    now = time.time()
    waited = replace(TASK, pid=1, started=now - 600, elapsed=600.0)
    child = replace(TASK, pid=2, started=now - 5, elapsed=5.0)

    class Two(Tasks):
        def read(self) -> list[Task]:
            return [waited, child]

    command = TopCommand(command_id=1, ps_args=["-o", "pid,etimes"])
    (part,) = process_list(command, 1, Two(cgroup=tmp_path), now - 9.5)
    assert [list(row.columns) for row in part.rows] == [["1", "9"], ["2", "5"]]


def test_names_of_users_are_read_through_no_link(tmp_path: Path) -> None:
    """What the image links to is looked up in the tether's own file system, and so not at all."""
    root = tmp_path / "7/root"
    (root / "etc").mkdir(parents=True)
    tasks = Tasks(proc=tmp_path)
    assert tasks.user_names(7) == {}
    (root / "etc/passwd").symlink_to("/etc/passwd")
    assert tasks.user_names(7) == {}
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").write_text("app:x:33:33::/:/bin/sh\nother:x:33:1::/:\nbad:x:y\n\n")
    assert tasks.user_names(7) == {33: "app"}


def test_a_users_number_of_any_length_is_none(tmp_path: Path) -> None:
    (tmp_path / "7/root/etc").mkdir(parents=True)
    passwd = "\n".join(f"user{digits}:x:{'4' * digits}:0::/:" for digits in (9, 11, 5000))
    (tmp_path / "7/root/etc/passwd").write_text(passwd)
    assert Tasks(proc=tmp_path).user_names(7) == {444_444_444: "user9"}


def test_a_long_list_comes_in_parts(tmp_path: Path) -> None:
    class Many(Tasks):
        def read(self) -> list[Task]:
            return [TASK] * 20_000

    parts = list(process_list(TopCommand(command_id=1), 1, Many(cgroup=tmp_path)))
    assert len(parts) > 2
    assert max(part.ByteSize() for part in parts) < 256 * 1024
    assert sum(len(part.rows) for part in parts) == 20_000
    assert [part.complete for part in parts] == [False] * (len(parts) - 1) + [True]
