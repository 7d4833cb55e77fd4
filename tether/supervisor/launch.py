"""Turns the calling process into a process of the workload.

It runs in a child of the supervisor that is in the container's namespaces already and sees the
container's root as its own. Everything is imported before: the image's files are out of reach.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import struct
import termios
from collections.abc import Sequence
from typing import NoReturn

from tether.link import Link
from tether.supervisor import kernelfile, syscalls
from tether.supervisor.capabilities import (
    ALL,
    NUMBERS,
    UnknownCapabilityError,
    capability_mask,
)
from tether.supervisor.failures import LaunchError, LaunchFailure
from tether.supervisor.lookup import DEFAULT_PATH, find_executable
from tether.supervisor.request import ProcessRequest
from tether.supervisor.users import UnknownUserError, User, resolve

_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430
# Resource limits that Python 3.11 has no name for. Source: asm-generic/resource.h.
_UNNAMED_LIMITS = {"locks": 10, "rttime": 15}
# containerd's own limit, which containers inherit under Docker; other limits stay the kernel's.
_DEFAULT_LIMITS = {
    "nofile": (1 << 20, 1 << 20),
    "nproc": (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    "core": (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
}


def become(
    request: ProcessRequest, streams: Sequence[int], report: Link, *, init: bool
) -> NoReturn:
    """Execute the program. ``streams`` are its 0, 1 and 2; with a terminal they are not needed.

    A failure goes to ``report`` as one message. On success ``report`` is closed by the exec,
    without a word; with a terminal, its other end was sent there before.
    """
    try:
        _become(request, streams, report, init=init)
    except LaunchError as error:
        _fail(report, error.failure, str(error))
    except Exception as error:  # noqa: BLE001 — the last line of the child: whatever it was, say it
        _fail(report, LaunchFailure.SETUP, f"{type(error).__name__}: {error}")


def _fail(report: Link, failure: LaunchFailure, message: str) -> NoReturn:
    report.send({"failure": failure.value, "message": message})
    os._exit(failure.exit_code)


def _become(
    request: ProcessRequest, streams: Sequence[int], report: Link, *, init: bool
) -> NoReturn:
    if not request.args:
        raise LaunchError(LaunchFailure.NOT_FOUND, "no command specified")
    try:
        user = resolve(request.user, request.additional_groups)
        mask = capability_mask(
            request.capabilities_add, request.capabilities_drop, privileged=request.privileged
        )
    except UnknownUserError as error:
        raise LaunchError(LaunchFailure.UNKNOWN_USER, str(error)) from error
    except UnknownCapabilityError as error:
        raise LaunchError(LaunchFailure.SETUP, str(error)) from error
    if request.tty:
        _take_terminal(request, report, user, init=init)
    else:
        for number, descriptor in enumerate(streams):
            # The workload's user may reopen its streams by /dev/stdout, as under runc.
            os.fchown(descriptor, user.uid, user.gid)
            os.dup2(descriptor, number)
    environment = _environment(request.env, user)
    _set_limits(request.rlimits)
    if request.oom_score_adj:
        kernelfile.put("/proc/self/oom_score_adj", str(request.oom_score_adj).encode())
    os.umask(0o022)
    syscalls.new_session_keyring()
    entered = _enter_directory(request.cwd or "/", make=init)
    if not request.no_new_privileges:
        # Takes CAP_SYS_ADMIN, which the user may not have.
        _filter_syscalls(request.seccomp_filter)
    _take_user(user, mask)
    if not entered:
        _change_directory(request.cwd)
    path = environment.get("PATH", DEFAULT_PATH)
    file = find_executable(request.args[0], path)
    if request.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        _filter_syscalls(request.seccomp_filter)
    _execute(file, request.args, environment)


def _filter_syscalls(program: bytes) -> None:
    if program:
        syscalls.set_seccomp_filter(program)


def _execute(file: str, args: list[str], environment: dict[str, str]) -> NoReturn:
    # Python ignores these two; an ignored signal stays ignored over an exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execve(file, args, environment)  # noqa: S606 — no shell is what is wanted
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise LaunchError(
            LaunchFailure.NOT_FOUND if missing else LaunchFailure.NOT_EXECUTABLE,
            f"exec {file}: {(error.strerror or '').lower()}",
        ) from error


def _environment(pairs: list[str], user: User) -> dict[str, str]:
    environment = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name and equals:
            environment[name] = value
    environment.setdefault("HOME", user.home)
    environment.setdefault("PATH", DEFAULT_PATH)
    return environment


def _set_limits(limits: list[tuple[str, int, int]]) -> None:
    wanted = {**_DEFAULT_LIMITS, **{name: (soft, hard) for name, soft, hard in limits}}
    for name, (soft, hard) in wanted.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", _UNNAMED_LIMITS.get(name))
        if number is None:
            raise LaunchError(LaunchFailure.SETUP, f"invalid ulimit type: {name}")
        try:
            resource.setrlimit(number, (_limit(soft), _limit(hard)))
        except (ValueError, OSError) as error:
            message = f"error setting rlimit {name} to {soft}:{hard}: {error}"
            raise LaunchError(LaunchFailure.SETUP, message) from error


def _limit(value: int) -> int:
    return resource.RLIM_INFINITY if value < 0 or value >= 1 << 63 else value


def _enter_directory(directory: str, *, make: bool) -> bool:
    """Enter the directory as root; False when only its user may enter it.

    ``make``: runc makes the one that a container begins in, and none for an additional process.
    """
    try:
        if make and not os.path.isdir(directory):
            os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
    except PermissionError:
        return False
    except OSError as error:
        raise _directory_error(directory, error) from error
    return True


def _change_directory(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise _directory_error(directory, error) from error


def _directory_error(directory: str, error: OSError) -> LaunchError:
    # makedirs finds a file that is in the way before chdir does.
    number = errno.ENOTDIR if error.errno == errno.EEXIST else error.errno or 0
    return LaunchError(
        LaunchFailure.WORKING_DIRECTORY,
        f'chdir to cwd ("{directory}") set in config.json failed: {os.strerror(number).lower()}',
    )


def _take_user(user: User, mask: int) -> None:
    syscalls.drop_from_bounding_set([n for n in NUMBERS.values() if not mask >> n & 1])
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    if user.uid == 0 and mask != ALL:
        # Another user's are gone with setresuid; what may be regained is in the bounding set.
        syscalls.set_capabilities(mask)


def _take_terminal(request: ProcessRequest, report: Link, user: User, *, init: bool) -> None:
    """Open a pseudo-terminal of the container's own, hand its master up, and live on its slave."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
    number = struct.unpack("=i", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))[0]
    name = f"/dev/pts/{number}"
    slave = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if request.rows and request.columns:
        size = struct.pack("=HHHH", request.rows, request.columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    report.send({"terminal": True}, [master])
    os.close(master)
    os.fchown(slave, user.uid, -1)
    if init:
        os.close(os.open("/dev/console", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        syscalls.mount(name, "/dev/console", flags=syscalls.MS_BIND)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for stream in range(3):
        os.dup2(slave, stream)
