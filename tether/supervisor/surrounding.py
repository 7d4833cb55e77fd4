"""What surrounds the container's init process at its launch: devices, settings, masks, an init.

All of it is done by the waiting init, in the container's namespaces and in its root, while it
still has every capability of the VM. What lies outside the root was opened before.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tether.supervisor import syscalls
from tether.supervisor.directories import make_directories
from tether.supervisor.failures import LaunchError, LaunchFailure
from tether.supervisor.request import SandboxRequest
from tether.supervisor.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
)

# Where the image of the tether has it, and where Docker shows it to a container.
INIT_PROGRAM = "/usr/lib/tether/docker-init"
CONTAINER_INIT = "/sbin/docker-init"
QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC
# Docker's defaults (oci/defaults.go of moby): what would tell of, or change, the machine.
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# The container has its own of these.
_OWN_DEVICES = frozenset({"pts", "shm", "mqueue", "ptmx", "console", "tty", "fd", "hugepages"})
# The tether's own ways to the hypervisor.
_TETHER_PORTS = "vport"


class Outside:
    """Handles of what can't be reached once the container's disk is the root."""

    def __init__(self, stage: str) -> None:
        """Open them; ``stage`` is where the container's /proc is before its root is there."""
        flags = os.O_PATH | os.O_CLOEXEC
        # Below the read-only mount that is laid over it: what a container asks for can be set.
        self.settings = os.open(f"{stage}/proc/sys", flags)
        self.devices = os.open("/dev", flags)
        self.init = syscalls.open_tree(INIT_PROGRAM)


def surround(request: SandboxRequest, outside: Outside, *, privileged: bool) -> None:
    """Give the container what was asked for. Raises LaunchError."""
    if privileged:
        _lift(MASKED + READ_ONLY)
        for path in ("/sys", "/sys/fs/cgroup"):
            mount("none", path, flags=MS_REMOUNT | MS_BIND | QUIET)
        _copy_devices(outside.devices)
    else:
        _change_masks(request)
    for path, target, _permissions in request.devices:
        _add_device(outside.devices, path, target)
    for name, value in request.sysctls.items():
        _set(outside.settings, name, value)
    if request.no_shm:
        syscalls.unmount("/dev/shm", syscalls.MNT_DETACH)  # noqa: S108 — a mount point
        os.rmdir("/dev/shm")  # noqa: S108
    if request.init:
        _mount_init(outside.init)


def bind_read_only(path: str) -> None:
    """Make what is at a path unchangeable for the container."""
    mount(path, path, flags=MS_BIND | MS_REC)
    mount("none", path, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | QUIET)


def mask(path: str, null: str) -> None:
    """Hide what is at a path, where there is something; ``null`` is a null device."""
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", MS_RDONLY | QUIET, "size=0k")
    elif os.path.exists(path):
        mount(null, path, flags=MS_BIND)


def _change_masks(request: SandboxRequest) -> None:
    if request.readonly_paths is not None:
        _lift(tuple(path for path in READ_ONLY if path not in request.readonly_paths))
        for path in request.readonly_paths:
            if path not in READ_ONLY and os.path.exists(path):
                bind_read_only(path)
    if request.masked_paths is not None:
        _lift(tuple(path for path in MASKED if path not in request.masked_paths))
        for path in request.masked_paths:
            if path not in MASKED:
                mask(path, "/dev/null")


def _lift(paths: tuple[str, ...]) -> None:
    for path in paths:
        try:
            syscalls.unmount(path, syscalls.MNT_DETACH)
        except OSError as error:
            # Nothing is mounted there: this kernel doesn't have what would be hidden.
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise


def _copy_devices(devices: int) -> None:
    """Give a privileged container every device that its machine has."""
    for directory, names, files, handle in os.fwalk(".", dir_fd=devices):
        place = os.path.normpath(f"/dev/{directory}")
        if place == "/dev":
            names[:] = [name for name in names if name not in _OWN_DEVICES]
            files = [name for name in files if name not in _OWN_DEVICES]
        for name in files:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            target = f"{place}/{name}"
            taken = name.startswith(_TETHER_PORTS) or os.path.lexists(target)
            if _is_device(status) and not taken:
                make_node(target, status)


def _add_device(devices: int, path: str, target: str) -> None:
    try:
        status = os.stat(path.removeprefix("/dev/"), dir_fd=devices)
    except OSError as error:
        raise _device_error(path, (error.strerror or "").lower()) from error
    if not _is_device(status):
        raise _device_error(path, "not a device node")
    try:
        if os.path.lexists(target):
            os.unlink(target)
        make_node(target, status)
    except OSError as error:
        raise LaunchError(
            LaunchFailure.SETUP, f'creating device node "{target}": {error.strerror}'
        ) from error


def _device_error(path: str, why: str) -> LaunchError:
    return LaunchError(
        LaunchFailure.SETUP,
        f'error gathering device information while adding custom device "{path}": {why}',
    )


def make_node(target: str, status: os.stat_result) -> None:
    """Make a device node as another one is, and the directories above it. Raises OSError."""
    make_directories(os.path.dirname(target))
    os.mknod(target, stat.S_IFMT(status.st_mode) | stat.S_IMODE(status.st_mode), status.st_rdev)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.chown(target, status.st_uid, status.st_gid)


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _set(settings: int, name: str, value: str) -> None:
    path = setting_path(name)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=settings)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise LaunchError(LaunchFailure.SETUP, f"open /proc/sys/{path}: {why}") from error


def setting_path(name: str) -> str:
    """The file of a kernel setting below /proc/sys.

    As sysctl(8) has it: whichever of "." and "/" comes first parts the names, and the other one
    is its opposite, so that an interface's name may have a dot.
    """
    first = next((letter for letter in name if letter in "./"), "/")
    return name if first == "/" else name.translate({ord("."): "/", ord("/"): "."})


def _mount_init(program: int) -> None:
    try:
        Path(CONTAINER_INIT).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not os.path.exists(CONTAINER_INIT):
            os.close(os.open(CONTAINER_INIT, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o755))
        syscalls.move_mount(program, CONTAINER_INIT, follow=True)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC, errno.ENOTDIR):
            raise
        raise LaunchError(
            LaunchFailure.SETUP, f"mounting {CONTAINER_INIT}: {error.strerror}"
        ) from error
