"""The workload's processes as /proc tells of them (proc(5))."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tether.supervisor.boot import WORKLOAD_CGROUP

# More of a command line is of no use to who looks at a list, and would make the list endless.
_LONGEST_COMMAND = 32 * 1024
_LONGEST_PASSWD = 1024 * 1024
_MOST_DIGITS = 10
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Task:
    """One process. Times are in seconds, sizes in bytes."""

    pid: int
    parent: int
    group: int
    session: int
    terminal: int
    """Device number as in /proc/PID/stat; 0 without a terminal."""
    terminal_group: int
    state: str
    flags: int
    user: int
    """Effective user and group, then the real ones."""
    group_id: int
    real_user: int
    real_group_id: int
    priority: int
    nice: int
    threads: int
    processor: int
    cpu_seconds: float
    started: float
    """Since 1970."""
    elapsed: float
    virtual_bytes: int
    resident_bytes: int
    locked: bool
    name: str
    command: str
    """The command line; empty where the process has none."""
    waits_in: str


class Tasks:
    """Reads them."""

    def __init__(self, cgroup: Path = WORKLOAD_CGROUP, proc: Path = Path("/proc")) -> None:
        """``cgroup`` is the workload's; whatever is in it or below it is listed."""
        self._cgroup = cgroup
        self._proc = proc

    def read(self) -> list[Task]:
        """All processes there are now, by process ID."""
        booted, uptime = self._clock()
        found = (self._task(pid, booted, uptime) for pid in sorted(self._pids()))
        return [task for task in found if task is not None]

    def total_memory(self) -> int:
        """Bytes of memory of the VM."""
        for line in _text(self._proc / "meminfo").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
        return 0

    def user_names(self, init_pid: int) -> dict[int, str]:
        """Names from the image's /etc/passwd; the first one of a number counts.

        No link is followed on the way: it would lead into the tether's own file system.
        """
        names: dict[int, str] = {}
        for line in _passwd(self._proc / str(init_pid) / "root").splitlines():
            fields = line.split(":")
            if len(fields) >= 3 and fields[0] and _is_user_id(fields[2]):
                names.setdefault(int(fields[2]), fields[0])
        return names

    def _pids(self) -> Iterator[int]:
        for directory, _, files in os.walk(self._cgroup):
            if "cgroup.procs" in files:
                for line in _text(Path(directory) / "cgroup.procs").split():
                    yield int(line)

    def _clock(self) -> tuple[float, float]:
        """When the VM was booted, by its present clock, and seconds since."""
        uptime = float(_text(self._proc / "uptime").split()[0])
        for line in _text(self._proc / "stat").splitlines():
            if line.startswith("btime "):
                return float(line.split()[1]), uptime
        return 0.0, uptime

    def _task(self, pid: int, booted: float, uptime: float) -> Task | None:
        """One process; None when it has just gone."""
        place = self._proc / str(pid)
        about = _text(place / "stat")
        status = dict(
            line.split(":", 1) for line in _text(place / "status").splitlines() if ":" in line
        )
        if not about or not status:
            return None
        # The name is in parentheses, and may have some itself.
        name = about[about.index("(") + 1 : about.rindex(")")]
        fields = about[about.rindex(")") + 2 :].split()
        numbers = [int(value) for value in fields[1:37]]
        uids, gids = status["Uid"].split(), status["Gid"].split()
        since_boot = numbers[18] / _TICKS
        return Task(
            pid=pid,
            parent=numbers[0],
            group=numbers[1],
            session=numbers[2],
            terminal=numbers[3],
            terminal_group=numbers[4],
            state=fields[0],
            flags=numbers[5],
            user=int(uids[1]),
            group_id=int(gids[1]),
            real_user=int(uids[0]),
            real_group_id=int(gids[0]),
            priority=numbers[14],
            nice=numbers[15],
            threads=numbers[16],
            processor=numbers[35],
            cpu_seconds=(numbers[10] + numbers[11]) / _TICKS,
            started=booted + since_boot,
            elapsed=max(0.0, uptime - since_boot),
            virtual_bytes=numbers[19],
            resident_bytes=numbers[20] * _PAGE,
            locked=status.get("VmLck", "0").split()[0] != "0",
            name=name,
            command=_command(place / "cmdline"),
            waits_in=_text(place / "wchan").strip(),
        )


def _command(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_COMMAND)
    except OSError:
        return ""
    text = data.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _text(path: Path) -> str:
    """A file of /proc; nothing when its process has gone."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _is_user_id(text: str) -> bool:
    """Whether it is a number of 32 bits; what an image has may be of any length."""
    return len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()


def _passwd(root: Path) -> str:
    """/etc/passwd below a root directory; nothing where it isn't a plain file there."""
    try:
        directory = os.open(root, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        for name in ("etc", "passwd"):
            kind = os.O_RDONLY | os.O_NONBLOCK if name == "passwd" else os.O_PATH | os.O_DIRECTORY
            below = os.open(name, kind | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = below
        if not stat.S_ISREG(os.fstat(directory).st_mode):
            return ""
        return os.read(directory, _LONGEST_PASSWD).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(directory)
