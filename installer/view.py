"""What a service sees of the host's file system.

A checkout below /root, or a Python below somebody's home, can't be entered by the services' users,
and opening those directories to everybody would give away far more than the code. So each service
starts in a mount namespace of its own, in which such a closed directory is covered by an empty one
that holds the directories the service needs, at the same paths, and nothing else. The namespace
and its mounts end with the process.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# <sched.h>, <sys/mount.h>
_CLONE_NEWNS = 0x00020000
_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000


@dataclass(frozen=True)
class Window:
    """A closed directory, and what is shown of it."""

    closed: Path
    shown: tuple[Path, ...]


def code_directories() -> list[Path]:
    """Return the directories that this interpreter and our own code are loaded from."""
    project = Path(__file__).resolve().parent.parent
    executable = Path(os.path.realpath(sys.executable)).parent
    return [Path(sys.prefix), Path(sys.base_prefix), executable, project]


def windows_for(needed: Iterable[Path]) -> list[Window]:
    """Return the closed directories on the way to `needed`; empty when all can be entered."""
    shown: dict[Path, list[Path]] = {}
    for path in _outermost(needed):
        closed = _first_closed(path)
        if closed is not None:
            shown.setdefault(closed, []).append(path)
    return [Window(closed, tuple(paths)) for closed, paths in sorted(shown.items())]


def open_windows(windows: Iterable[Window]) -> None:
    """Move this process into a mount namespace of its own, with `windows` in place.

    Must be called by root. Raises OSError when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS), "unshare")
    # What the host unmounts later is unmounted here too; what is mounted here stays here.
    _mount(libc, "none", Path("/"), None, _MS_REC | _MS_SLAVE)
    for window in windows:
        sources = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in window.shown]
        _mount(libc, "vic", window.closed, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=256k")
        for path, descriptor in sources:
            path.mkdir(parents=True, exist_ok=True)
            _mount(libc, f"/proc/self/fd/{descriptor}", path, None, _MS_BIND | _MS_REC)
            os.close(descriptor)
        flags = _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
        _mount(libc, "vic", window.closed, "tmpfs", flags, "mode=0755,size=256k")


def unreadable(path: Path) -> bool:
    """Tell whether a file's own mode keeps others from reading it."""
    return not path.stat().st_mode & stat.S_IROTH


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return absolute paths without those that lie inside another one."""
    unique = sorted({path.absolute() for path in paths})
    kept: list[Path] = []
    for path in unique:
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def _first_closed(path: Path) -> Path | None:
    """Return the outermost directory above `path` that others may not enter."""
    for ancestor in reversed(path.parents):
        if not ancestor.stat().st_mode & stat.S_IXOTH:
            return ancestor
    return None


def _mount(
    libc: ctypes.CDLL, source: str, target: Path, kind: str | None, flags: int, data: str = ""
) -> None:
    result = libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(result, f"mount on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
