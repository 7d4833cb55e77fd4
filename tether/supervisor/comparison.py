"""The container's disk and its image's side by side, for a process of the tether's own."""

from __future__ import annotations

import os

from tether.files.inodes import touched_inodes
from tether.files.task import DISK, IMAGE
from tether.supervisor import syscalls
from tether.supervisor.boot import RUN
from tether.supervisor.disk import DISK_POINT
from tether.supervisor.luns import find_disks
from tether.supervisor.syscalls import MS_BIND, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, mount

_VIEW = RUN / "comparison"


def enter_comparison(image_lun: int) -> set[int] | None:
    """Have nothing in sight but both disks, read-only. Raises OSError, ConfigError.

    Returns the inodes that may differ, where that can be told.

    The mounts are in a namespace of this process's own and go with it. What is mounted over the
    container's root is not in sight, and a link on either disk, also one that is put there while it
    is being read, leads nowhere else.
    """
    device = find_disks([image_lun])[0]
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    disk, image = f"{_VIEW}{DISK}", f"{_VIEW}{IMAGE}"
    for directory in (disk, image):
        os.makedirs(directory, exist_ok=True)
    mount(str(DISK_POINT), disk, flags=MS_BIND)
    mount("none", disk, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
    # Storage has made it: its journal is empty, and it can't be written.
    mount(device, image, "ext4", MS_RDONLY, "noload")
    touched = touched_inodes(device_of(str(DISK_POINT)), device)
    os.chroot(_VIEW)
    os.chdir("/")
    return touched


def device_of(point: str) -> str:
    """The device node of what is mounted somewhere; its numbers name it in /sys."""
    number = os.stat(point).st_dev
    link = os.readlink(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return f"/dev/{os.path.basename(link)}"
