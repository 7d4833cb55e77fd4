"""The container's namespaces and mounts, made ahead of time by the process that becomes its init.

All that needs neither the container's disk nor its identity is done before a parent VM is frozen:
namespaces, /proc, /sys, /dev, cgroup, device filter. What is left for a clone is to put the disk
under it and to execute the program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from tether.link import Link, LinkClosedError
from tether.supervisor import syscalls
from tether.supervisor.boot import WORKLOAD_CGROUP
from tether.supervisor.directories import make_directories
from tether.supervisor.disk import MACHINE_ID
from tether.supervisor.failures import LaunchError, LaunchFailure, sentence
from tether.supervisor.launch import become
from tether.supervisor.mounts import make_mounts
from tether.supervisor.request import ProcessRequest, SandboxRequest, process_of
from tether.supervisor.surrounding import (
    CONTAINER_INIT,
    MASKED,
    QUIET,
    READ_ONLY,
    Outside,
    bind_read_only,
    mask,
    surround,
)
from tether.supervisor.syscalls import (
    MS_BIND,
    MS_MOVE,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_STRICTATIME,
    mount,
)

STAGE = Path("/container")
_STAGED = ("/proc", "/sys", "/dev")
_NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
_TTY_GROUP = 5


@dataclass(frozen=True)
class EnterRoot:
    """Order to the waiting init: live on this disk, with these files mounted over it.

    The descriptors with the message are the disk's mount, then one mount for each of ``files`` and
    for each volume of ``mounts``, which are :class:`tether.guestconfig.Mount` as dictionaries.
    """

    hostname: str
    domainname: str
    readonly: bool
    shm_bytes: int
    files: list[str]
    mounts: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""
    """Why the container can't have its volumes; it does not start then."""

    def to_message(self) -> dict[str, Any]:
        """As a message on the waiting init's link."""
        return {"order": "root", "root": vars(self)}


def wait_as_init(link: Link, network: int) -> NoReturn:
    """Be the init process to come: prepare, then follow orders from ``link`` until the exec.

    The caller has just been forked as PID 1 of a new PID namespace; ``network`` is a descriptor
    of the container's network namespace.
    """
    os.setsid()
    Path("/proc/self/oom_score_adj").write_text("0")
    (WORKLOAD_CGROUP / "cgroup.procs").write_text("0")
    syscalls.unshare(
        syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWUTS
        | syscalls.CLONE_NEWCGROUP
    )
    syscalls.setns(network, syscalls.CLONE_NEWNET)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    outside = _stage()
    staged = [os.open(f"{STAGE}{path}", os.O_PATH | os.O_CLOEXEC) for path in _STAGED]
    link.send({"event": "waiting"})
    failure = ""
    readonly = False
    while True:
        try:
            message, descriptors = link.receive()
        except LinkClosedError:
            os._exit(0)
        if message["order"] == "root":
            order = EnterRoot(**message["root"])
            failure = _obey_root(order, descriptors, staged)
            readonly = order.readonly
        elif failure:
            # Now there is somebody to tell.
            link.send({"failure": LaunchFailure.SETUP.value, "message": failure})
            os._exit(LaunchFailure.SETUP.exit_code)
        else:
            request = process_of(message["process"])
            sandbox = SandboxRequest(**message["sandbox"])
            _surround(link, request, sandbox, outside)
            if readonly:
                # Last, so that mount points could be made before.
                mount("none", "/", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
            if sandbox.init:
                request = replace(request, args=[CONTAINER_INIT, "--", *request.args])
            become(request, descriptors, link, init=True)


def _surround(
    link: Link, request: ProcessRequest, sandbox: SandboxRequest, outside: Outside
) -> None:
    try:
        surround(sandbox, outside, privileged=request.privileged)
    except (LaunchError, OSError) as error:
        link.send({"failure": LaunchFailure.SETUP.value, "message": str(error)})
        os._exit(LaunchFailure.SETUP.exit_code)


def _obey_root(order: EnterRoot, descriptors: list[int], staged: list[int]) -> str:
    """Enter the root; returns why that was impossible, or nothing."""
    if order.fault:
        return order.fault
    try:
        enter_root(order, descriptors, staged)
    except OSError as error:
        return sentence(error)
    return ""


def enter_root(order: EnterRoot, descriptors: list[int], staged: list[int]) -> None:
    """Make the disk the root, with the staged mounts and the files over it.

    The disk is moved over the initial file system, which can't be left by pivot_root: nothing
    below it can be reached from then on, not even by ".." (it has no parent to go to).
    """
    socket.sethostname(order.hostname)
    if order.domainname:
        syscalls.set_domain_name(order.domainname)
    mount(
        "shm",
        f"{STAGE}/dev/shm",  # noqa: S108 — a mount point
        flags=MS_REMOUNT | QUIET,
        data=f"mode=1777,size={order.shm_bytes}",
    )
    disk, *others = descriptors
    files, trees = others[: len(order.files)], others[len(order.files) :]
    root = f"{STAGE}/root"
    syscalls.move_mount(disk, root)
    os.chdir(root)
    mount(".", "/", flags=MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    make_marks()
    for path, descriptor in zip(_STAGED, staged, strict=True):
        _make_directory(path)
        syscalls.move_mount(descriptor, path)
    # A volume over /etc leaves the files below in place.
    make_mounts(order.mounts, trees)
    for path, descriptor in zip(order.files, files, strict=True):
        if path == MACHINE_ID and not _leaves_machine_id_open(path):
            continue
        make_file(path)
        syscalls.move_mount(descriptor, path, follow=True)
    for descriptor in (*descriptors, *staged):
        os.close(descriptor)


def make_marks(root: str = "") -> None:
    """Make what scripts look for in a container of Docker's, where the image hasn't got it.

    That is the file that says it is one, and the list of mounts where programs once had it.
    Source: moby, daemon/initlayer/setup_unix.go. A full disk keeps no container from starting.
    """
    with contextlib.suppress(OSError):
        if not os.path.lexists(f"{root}/.dockerenv"):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(f"{root}/.dockerenv", flags, 0o755))
        make_directories(f"{root}/etc")
        if not os.path.lexists(f"{root}/etc/mtab"):
            os.symlink("/proc/mounts", f"{root}/etc/mtab")


def _make_directory(path: str) -> None:
    if not os.path.isdir(path):
        os.mkdir(path, 0o755)


def _leaves_machine_id_open(path: str) -> bool:
    """Whether the image has an empty machine ID, or says "uninitialized" (machine-id(5))."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size in (0, len("uninitialized\n"))


def make_file(path: str) -> None:
    """Make an empty mount point, as Docker does, where the image has nothing there.

    That is where a link leads to. Raises OSError.
    """
    if not os.path.exists(path):
        real = os.path.realpath(path)
        make_directories(os.path.dirname(real))
        os.close(os.open(real, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _stage() -> Outside:
    os.umask(0)
    mount("proc", f"{STAGE}/proc", "proc", QUIET)
    for kind, path in (("sysfs", "/sys"), ("cgroup2", "/sys/fs/cgroup")):
        # Read-only for the container alone, so that a privileged one may write.
        mount(kind, f"{STAGE}{path}", kind, QUIET)
        mount("none", f"{STAGE}{path}", flags=MS_REMOUNT | MS_BIND | MS_RDONLY | QUIET)
    _stage_devices()
    outside = Outside(str(STAGE))
    for path in READ_ONLY:
        if os.path.exists(f"{STAGE}{path}"):
            bind_read_only(f"{STAGE}{path}")
    for path in MASKED:
        mask(f"{STAGE}{path}", f"{STAGE}/dev/null")
    return outside


def _stage_devices() -> None:
    devices = f"{STAGE}/dev"
    mount("tmpfs", devices, "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k")
    for name, (major, minor) in _NODES.items():
        os.mknod(f"{devices}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, target in _LINKS.items():
        os.symlink(target, f"{devices}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{devices}/{name}", 0o755)
    mount(
        "devpts",
        f"{devices}/pts",
        "devpts",
        MS_NOSUID | MS_NOEXEC,
        f"newinstance,ptmxmode=0666,mode=0620,gid={_TTY_GROUP}",
    )
    mount("shm", f"{devices}/shm", "tmpfs", QUIET, "mode=1777,size=65536k")
    mount("mqueue", f"{devices}/mqueue", "mqueue", QUIET)
