"""A tiny ext4 file system for the tether to rehearse with, made without root or mount.

A clone that is kept ready has no container's disk yet. So that its emulator has met the kernel's
ext4 before the first container asks for it, the image carries one of its own: a few dozen blocks,
written into a sparse file in memory and mounted by way of a loop device.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from pathlib import Path

from tether.bootstrap.cpio import FIXED_MTIME
from tether.bootstrap.errors import BootstrapError

BLOCK = 4096
# Sparse, and of several block groups, among which ext4 chooses.
_SIZE = 1024 * 1024 * 1024
# As containers' disks have them: services/storage/compiler/ext4/superblock.py.
_FEATURES = (
    "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,"
    "uninit_bg,dir_nlink,extra_isize"
)
_UUID = "7465746865722d766963000000000001"
PROGRAM = "bin/true"
# No more: mount points that an image lacks are made, and so are they.
_DIRECTORIES = ("bin",)


def scratch_blocks(program: Path, work: Path) -> bytes:
    """The blocks that aren't empty: the offset of each in eight bytes, then its bytes.

    ``program`` is what will be executed on it: an ELF file that needs no other.
    """
    tree, image = work / "scratch", work / "scratch.img"
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True)
    shutil.copyfile(program, tree / PROGRAM)
    (tree / PROGRAM).chmod(0o755)
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (FIXED_MTIME, FIXED_MTIME))
    with image.open("wb") as file:
        file.truncate(_SIZE)
    uuid = f"{_UUID[:8]}-{_UUID[8:12]}-{_UUID[12:16]}-{_UUID[16:20]}-{_UUID[20:]}"
    options = ["-q", "-F", "-b", str(BLOCK), "-U", uuid, "-N", "512", "-O", _FEATURES]
    extended = f"hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"
    _run(["mkfs.ext4", *options, "-J", "size=4", "-E", extended], ["-d", str(tree), str(image)])
    # mkfs takes each file's change time from its source, which nobody can set.
    commands = [
        f"set_inode_field /{path} {field} {value}\n"
        for path in (*_DIRECTORIES, PROGRAM)
        for time in ("ctime", "atime", "crtime")
        for field, value in ((time, f"@{FIXED_MTIME}"), (f"{time}_extra", "0"))
    ]
    script = work / "scratch.debugfs"
    script.write_text("".join(commands))
    _run(["debugfs", "-w", "-f", str(script)], [str(image)])
    return b"".join(_used_blocks(image))


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


def _used_blocks(image: Path) -> list[bytes]:
    size = image.stat().st_size
    pieces = [struct.pack("<Q", size)]
    with image.open("rb", buffering=0) as file:
        offset = 0
        while (start := _next_data(file.fileno(), offset)) is not None:
            offset = start // BLOCK * BLOCK
            block = os.pread(file.fileno(), BLOCK, offset)
            if block.strip(b"\0"):
                pieces += [struct.pack("<Q", offset), block]
            offset += BLOCK
    return pieces


def _next_data(descriptor: int, offset: int) -> int | None:
    """The next offset that may hold more than zeros (lseek(2)); None where none follows."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
