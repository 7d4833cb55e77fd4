"""The disks of volumes: found, mounted for the container, and brought to rest at the end."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from tether.guestconfig import ConfigError, Disk, Mount
from tether.supervisor import syscalls
from tether.supervisor.boot import RUN, log
from tether.supervisor.copyup import COPY_UP_MARK, clear, is_marked
from tether.supervisor.failures import sentence
from tether.supervisor.luns import find_disks
from tether.supervisor.syscalls import MS_RDONLY, MS_REMOUNT, mount

_BLKGETSIZE64 = 0x80081272
_EXT4_IOC_RESIZE_FS = 0x40086610
_BLOCK = 4096
_SUPERBLOCK = 1024
# Blocks of data that a short last group must offer to be worth its metadata, as with resize2fs.
_SMALLEST_TAIL = 50


class Volumes:
    """The volumes of this VM's container."""

    def __init__(self, directory: Path = RUN / "volumes") -> None:
        """``directory`` is where they are mounted, out of the container's sight."""
        self._directory = directory
        self._writable: list[str] = []

    def attach(self, disks: tuple[Disk, ...]) -> None:
        """Find and mount the disks, whose LUNs are their places. Raises OSError, ConfigError."""
        if not disks:
            return
        self._directory.mkdir(exist_ok=True)
        devices = find_disks(range(len(disks)))
        for lun, (disk, device) in enumerate(zip(disks, devices, strict=True)):
            point = self._directory / str(lun)
            point.mkdir(exist_ok=True)
            if disk.readonly:
                # Its journal is empty: the host has looked. The disk couldn't be written anyway.
                mount(device, str(point), "ext4", MS_RDONLY, "noload")
                continue
            mount(device, str(point), "ext4")
            self._writable.append(str(point))
            _grow(device, str(point))
            _undo_copy(str(point))

    def tree(self, wanted: Mount) -> int:
        """A detached mount of a volume for the container. Raises OSError, ConfigError."""
        point = self._directory / str(wanted.disk)
        if not point.is_dir():
            raise ConfigError(f"mounts: there is no disk {wanted.disk}")
        if not wanted.subpath:
            return syscalls.open_tree(str(point))
        root = os.open(point, os.O_PATH | os.O_CLOEXEC)
        try:
            # Links lead nowhere but into the volume itself.
            below = syscalls.open_in_root(root, wanted.subpath, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            message = f"cannot access path {wanted.subpath} of the volume: {sentence(error)}"
            raise OSError(error.errno, message) from error
        finally:
            os.close(root)
        try:
            return syscalls.open_tree_at(below)
        finally:
            os.close(below)

    def flush(self) -> None:
        """Put everything on the disks and leave their file systems clean.

        Raises OSError, the first one, after it has done so with all others.
        """
        failures = []
        for point in list(self._writable):
            try:
                mount("none", point, flags=MS_REMOUNT | MS_RDONLY)
                self._writable.remove(point)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]


def _grow(device: str, point: str) -> None:
    """Let a file system have what its disk was enlarged by; without that it serves as it is."""
    with open(device, "rb", buffering=0) as disk:
        size = struct.unpack("=Q", fcntl.ioctl(disk, _BLKGETSIZE64, bytes(8)))[0]
        disk.seek(_SUPERBLOCK)
        superblock = disk.read(_SUPERBLOCK)
    blocks = struct.unpack_from("<I", superblock, 4)[0]
    wanted = blocks_on(size, superblock)
    if wanted <= blocks:
        return
    root = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(root, _EXT4_IOC_RESIZE_FS, struct.pack("=Q", wanted))
    except OSError as error:
        log(f"a volume can't grow from {blocks} to {wanted} blocks: {error}")
    finally:
        os.close(root)


def blocks_on(size: int, superblock: bytes) -> int:
    """Return how many blocks an ext4 file system can have on a disk of so many bytes."""
    per_group: int
    inodes: int
    per_group, inodes = (struct.unpack_from("<I", superblock, at)[0] for at in (0x20, 0x28))
    inode, reserved = (struct.unpack_from("<H", superblock, at)[0] for at in (0x58, 0xCE))
    descriptor = struct.unpack_from("<H", superblock, 0xFE)[0] or 32
    blocks: int = size // _BLOCK
    tail = blocks % per_group
    groups = -(-blocks // per_group)
    # Two bitmaps, the inodes, and where it has a copy of the superblock that and the descriptors.
    front = 1 + -(-groups * descriptor // _BLOCK) + reserved
    metadata = 2 + -(-inodes * inode // _BLOCK) + front
    if blocks > per_group and tail < metadata + _SMALLEST_TAIL:
        return blocks - tail
    return blocks


def _undo_copy(point: str) -> None:
    """Empty a volume into which the copy of an image's files was begun and not ended."""
    root = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if is_marked(root):
            clear(root)
            syscalls.sync_file_system(root)
            os.removexattr(root, COPY_UP_MARK)
    finally:
        os.close(root)
