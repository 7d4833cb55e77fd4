"""A tiny ext4 file system for the tether to rehearse with, made without root or mount.

A clone that is kept ready has no container's disk yet. So that its emulator has met the kernel's
ext4 before the first container asks for it, the image carries one of its own: a few dozen blocks,
written into a sparse file in memory and mounted by way of a loop device.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from tether.bootstrap.cpio import FIXED_MTIME
from tether.bootstrap.errors import BootstrapError

BLOCK = 4096
_SIZE = 16 * 1024 * 1024  # the least that mkfs gives a journal with blocks of 4 KiB, and some
_UUID = "7465746865722d766963000000000001"
PROGRAM = "bin/true"
_DIRECTORIES = ("bin", "dev", "etc", "proc", "sys")
_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/machine-id")


def scratch_blocks(program: Path, work: Path) -> bytes:
    """The blocks that aren't empty: the offset of each in eight bytes, then its bytes.

    ``program`` is what will be executed on it: an ELF file that needs no other.
    """
    tree, image = work / "scratch", work / "scratch.img"
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True)
    for name in _FILES:
        (tree / name).write_bytes(b"")
    shutil.copyfile(program, tree / PROGRAM)
    (tree / PROGRAM).chmod(0o755)
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (FIXED_MTIME, FIXED_MTIME))
    with image.open("wb") as file:
        file.truncate(_SIZE)
    uuid = f"{_UUID[:8]}-{_UUID[8:12]}-{_UUID[12:16]}-{_UUID[16:20]}-{_UUID[20:]}"
    options = ["-q", "-F", "-b", str(BLOCK), "-U", uuid, "-N", "32"]
    _run(
        ["mkfs.ext4", *options, "-E", f"hash_seed={uuid},root_owner=0:0"],
        ["-d", str(tree), str(image)],
    )
    # mkfs takes each file's change time from its source, which nobody can set.
    commands = [
        f"set_inode_field /{path} {field} {value}\n"
        for path in (*_DIRECTORIES, *_FILES, PROGRAM)
        for time in ("ctime", "atime", "crtime")
        for field, value in ((time, f"@{FIXED_MTIME}"), (f"{time}_extra", "0"))
    ]
    script = work / "scratch.debugfs"
    script.write_text("".join(commands))
    _run(["debugfs", "-w", "-f", str(script)], [str(image)])
    return b"".join(_used_blocks(image.read_bytes()))


def _run(command: list[str], arguments: list[str]) -> None:
    environment = {
        "PATH": "/usr/sbin:/sbin:/usr/bin:/bin",
        "E2FSPROGS_FAKE_TIME": str(FIXED_MTIME),
        "TZ": "UTC",
    }
    answer = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise BootstrapError(f"{command[0]} can't make the scratch disk: {answer.stderr.strip()}")


def _used_blocks(data: bytes) -> list[bytes]:
    pieces = [struct.pack("<Q", len(data))]
    for offset in range(0, len(data), BLOCK):
        block = data[offset : offset + BLOCK]
        if block.strip(b"\0"):
            pieces += [struct.pack("<Q", offset), block]
    return pieces
