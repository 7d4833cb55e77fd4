"""Lists processes as procps's ps does: its options, its columns, its way to write values.

Source: ps(1) and procps-ng's output. There is no ps in the VM, as there need be none in the image.
The list is always of the whole workload, so that of the options which choose processes only those
that widen the choice are known; whatever isn't known is refused by its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tether.agent.tasks import Task

_KIB = 1024
_PAGE = 4096
_DAY = 86_400.0
# Majors of the Unix98 pseudo-terminals' slaves, with 256 in each; of virtual and serial lines.
_PTS_MAJORS = range(136, 144)
_TTY_MAJOR = 4
_FIRST_SERIAL = 64


class PsError(Exception):
    """The options can't be served; the message says which."""


@dataclass(frozen=True)
class View:
    """What values depend on besides the process itself."""

    now: float
    total_memory: int
    users: dict[int, str] = field(default_factory=dict)

    def user(self, number: int) -> str:
        """A user's name, or its number where the image has no name."""
        return self.users.get(number, str(number))


Write = Callable[[Task, View], str]


@dataclass(frozen=True)
class Column:
    """A title, and how the value below it is written."""

    title: str
    write: Write


def terminal_name(number: int) -> str:
    """The terminal with a device number of /proc/PID/stat."""
    if number == 0:
        return "?"
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if major in _PTS_MAJORS:
        return f"pts/{minor + 256 * (major - _PTS_MAJORS.start)}"
    if major == _TTY_MAJOR:
        return f"tty{minor}" if minor < _FIRST_SERIAL else f"ttyS{minor - _FIRST_SERIAL}"
    return "?"


def _clock_time(seconds: float) -> str:
    """[DD-]hh:mm:ss."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hour:02d}:{minute:02d}:{second:02d}"


def _elapsed(seconds: float) -> str:
    """[[DD-]hh:]mm:ss."""
    text = _clock_time(seconds)
    return text[3:] if seconds < 3600 else text


def _bsd_time(seconds: float) -> str:
    """m:ss."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes}:{second:02d}"


def _start_time(task: Task, view: View) -> str:
    """The hour of today, the day of this year, or the year."""
    then = time.gmtime(task.started)
    if view.now - task.started < _DAY:
        return time.strftime("%H:%M", then)
    same_year = then.tm_year == time.gmtime(view.now).tm_year
    return time.strftime("%b%d" if same_year else "%Y", then)


def _started(task: Task, view: View) -> str:
    recent = view.now - task.started < _DAY
    return time.strftime("%H:%M:%S" if recent else "%b %d", time.gmtime(task.started))


def _cpu_share(task: Task) -> float:
    return 100.0 * task.cpu_seconds / task.elapsed if task.elapsed >= 0.01 else 0.0


def _memory_share(task: Task, view: View) -> float:
    return 100.0 * task.resident_bytes / view.total_memory if view.total_memory else 0.0


def _states(task: Task) -> str:
    marks = [
        ("<", task.nice < 0),
        ("N", task.nice > 0),
        ("L", task.locked),
        ("s", task.session == task.pid),
        ("l", task.threads > 1),
        ("+", task.terminal_group == task.group),
    ]
    return task.state + "".join(mark for mark, holds in marks if holds)


def _name(task: Task) -> str:
    return f"{task.name} <defunct>" if task.state == "Z" else task.name


def _command(task: Task) -> str:
    if task.command:
        return task.command
    return f"[{task.name}]" + (" <defunct>" if task.state == "Z" else "")


def _wait_channel(task: Task) -> str:
    return "-" if task.waits_in in ("", "0") else task.waits_in


# Title and value of each column by its name for "-o".
_COLUMNS: dict[str, Column] = {
    "pid": Column("PID", lambda t, _: str(t.pid)),
    "ppid": Column("PPID", lambda t, _: str(t.parent)),
    "pgid": Column("PGID", lambda t, _: str(t.group)),
    "sid": Column("SID", lambda t, _: str(t.session)),
    "tpgid": Column("TPGID", lambda t, _: str(t.terminal_group)),
    "tname": Column("TTY", lambda t, _: terminal_name(t.terminal)),
    "tt": Column("TT", lambda t, _: terminal_name(t.terminal)),
    "stat": Column("STAT", lambda t, _: _states(t)),
    "s": Column("S", lambda t, _: t.state),
    "f": Column("F", lambda t, _: f"{t.flags >> 6 & 7:o}"),
    "user": Column("USER", lambda t, v: v.user(t.user)),
    "euser": Column("EUSER", lambda t, v: v.user(t.user)),
    "ruser": Column("RUSER", lambda t, v: v.user(t.real_user)),
    "uid": Column("UID", lambda t, _: str(t.user)),
    "euid": Column("EUID", lambda t, _: str(t.user)),
    "ruid": Column("RUID", lambda t, _: str(t.real_user)),
    "gid": Column("GID", lambda t, _: str(t.group_id)),
    "egid": Column("EGID", lambda t, _: str(t.group_id)),
    "rgid": Column("RGID", lambda t, _: str(t.real_group_id)),
    "comm": Column("COMMAND", lambda t, _: _name(t)),
    "ucmd": Column("CMD", lambda t, _: _name(t)),
    "args": Column("COMMAND", lambda t, _: _command(t)),
    "cmd": Column("CMD", lambda t, _: _command(t)),
    "time": Column("TIME", lambda t, _: _clock_time(t.cpu_seconds)),
    "times": Column("TIME", lambda t, _: str(int(t.cpu_seconds))),
    "bsdtime": Column("TIME", lambda t, _: _bsd_time(t.cpu_seconds)),
    "etime": Column("ELAPSED", lambda t, _: _elapsed(t.elapsed)),
    "etimes": Column("ELAPSED", lambda t, _: str(int(t.elapsed))),
    "stime": Column("STIME", _start_time),
    "bsdstart": Column("START", _start_time),
    "start": Column("STARTED", _started),
    "lstart": Column("STARTED", lambda t, _: time.asctime(time.gmtime(t.started))),
    "c": Column("C", lambda t, _: str(min(99, int(_cpu_share(t))))),
    "pcpu": Column("%CPU", lambda t, _: f"{_cpu_share(t):.1f}"),
    "pmem": Column("%MEM", lambda t, v: f"{_memory_share(t, v):.1f}"),
    "rss": Column("RSS", lambda t, _: str(t.resident_bytes // _KIB)),
    "vsz": Column("VSZ", lambda t, _: str(t.virtual_bytes // _KIB)),
    "sz": Column("SZ", lambda t, _: str(t.virtual_bytes // _PAGE)),
    "pri": Column("PRI", lambda t, _: str(39 - t.priority)),
    "opri": Column("PRI", lambda t, _: str(60 + t.priority)),
    "ni": Column("NI", lambda t, _: str(t.nice)),
    "nlwp": Column("NLWP", lambda t, _: str(t.threads)),
    "psr": Column("PSR", lambda t, _: str(t.processor)),
    "addr": Column("ADDR", lambda _, __: "-"),
    "wchan": Column("WCHAN", lambda t, _: _wait_channel(t)),
    # A user's name under the title of its number, as the full formats have it.
    "full-uid": Column("UID", lambda t, v: v.user(t.user)),
}
_ALIASES = {
    "%cpu": "pcpu",
    "%mem": "pmem",
    "command": "args",
    "ucomm": "comm",
    "cputime": "time",
    "cputimes": "times",
    "nice": "ni",
    "pgrp": "pgid",
    "sess": "sid",
    "session": "sid",
    "state": "s",
    "tty": "tt",
    "flag": "f",
    "flags": "f",
    "rssize": "rss",
    "rsz": "rss",
    "vsize": "vsz",
    "start_time": "stime",
    "thcount": "nlwp",
    "uname": "user",
}

_PLAIN = "pid tname time ucmd"
_BSD_PLAIN = "pid tname stat bsdtime args"
# Formats by the letters of options with a dash, in alphabetical order.
_FORMATS = {
    "": _PLAIN,
    "f": "full-uid pid ppid c stime tname time cmd",
    "F": "full-uid pid ppid c sz rss psr stime tname time cmd",
    "l": "f s uid pid ppid c opri ni addr sz wchan tname time ucmd",
    "fl": "f s full-uid pid ppid c opri ni addr sz wchan stime tname time cmd",
    "j": "pid pgid sid tname time ucmd",
    "fj": "full-uid pid ppid pgid sid c stime tname time cmd",
}
_BSD_FORMATS = {
    "": _BSD_PLAIN,
    "u": "user pid pcpu pmem vsz rss tname stat bsdstart bsdtime args",
    "j": "ppid pid pgid sid tname tpgid stat uid bsdtime args",
    "l": "f uid ppid pid pri ni vsz rss wchan stat tname bsdtime args",
}
# Of no consequence here: all processes are listed in any case, and no line is cut.
_WIDENING = frozenset("eAw")
_BSD_WIDENING = frozenset("axw")
_LETTERS = frozenset("".join(_FORMATS))
_BSD_LETTERS = frozenset("".join(_BSD_FORMATS))


def columns(arguments: Sequence[str]) -> list[Column]:
    """The columns that options ask for. Raises PsError."""
    letters, bsd_letters, chosen = "", "", []
    bsd = False
    waiting = list(arguments) or ["-ef"]
    while waiting:
        word = waiting.pop(0)
        if word.startswith("--"):
            if not word.startswith("--format="):
                raise PsError(f"unknown option {word}")
            chosen += _chosen(word.removeprefix("--format="))
            continue
        dashed = word.startswith("-") and not _bsd_with_dash(word)
        bsd = bsd or not dashed
        widening, known = (_WIDENING, _LETTERS) if dashed else (_BSD_WIDENING, _BSD_LETTERS)
        found, value = _scan(word.removeprefix("-"), waiting, widening, known)
        if value is not None:
            chosen += _chosen(value)
        if dashed:
            letters += found
        else:
            bsd_letters += found
    if not chosen:
        chosen = _format(letters, bsd_letters, bsd=bsd and not letters)
    if not any(column.title == "PID" for column in chosen):
        raise PsError("Couldn't find PID field in ps output")
    return chosen


def _bsd_with_dash(word: str) -> bool:
    """Tell whether a word is BSD's in spite of its dash: "-aux", which ps(1) takes for "aux"."""
    letters = word[1:].partition("o")[0]
    return "x" in letters and set(letters) <= _BSD_WIDENING | _BSD_LETTERS


def _scan(
    word: str, waiting: list[str], widening: frozenset[str], known: frozenset[str]
) -> tuple[str, str | None]:
    """Letters in a word that choose a format, and the value of its "o"."""
    if not word:
        raise PsError("garbage option")
    found = ""
    for position, letter in enumerate(word):
        if letter == "o":
            value = word[position + 1 :] or (waiting.pop(0) if waiting else "")
            if not value:
                raise PsError("format specification must follow -o")
            return found, value
        if letter not in widening:
            if letter not in known:
                raise PsError(f"unknown option {letter}")
            found += letter
    return found, None


def _format(letters: str, bsd_letters: str, *, bsd: bool) -> list[Column]:
    if letters and bsd_letters:
        raise PsError("conflicting format options")
    formats = _BSD_FORMATS if bsd or bsd_letters else _FORMATS
    wanted = "".join(sorted(set(letters or bsd_letters)))
    if wanted not in formats:
        raise PsError(f"unknown option {wanted}")
    return [_COLUMNS[name] for name in formats[wanted].split()]


def _chosen(value: str) -> list[Column]:
    """Columns as "-o" names them; "name=TITLE" gives the last one another title."""
    value, equals, title = value.partition("=")
    names = value.replace(",", " ").split()
    if not names:
        raise PsError("empty format list")
    found = []
    for name in names:
        column = _COLUMNS.get(_ALIASES.get(name, name))
        if column is None or name == "full-uid":
            raise PsError(f'unknown user-defined format specifier "{name}"')
        found.append(column)
    if equals:
        found[-1] = Column(title, found[-1].write)
    return found


def rows(chosen: Sequence[Column], tasks: Sequence[Task], view: View) -> list[list[str]]:
    """A row of values for each process."""
    return [[column.write(task, view) for column in chosen] for task in tasks]
