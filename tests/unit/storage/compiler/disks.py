"""Disks in memory, tars in memory, and what a compiled disk shows."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache

from services.storage.compiler import FileSystem, LayerInfo, Limits, compile_delta
from services.storage.compiler.base import format_disk

SIZE = 32 << 20
BLOCK = 4096
ZEROS = bytes(BLOCK)
MTIME = 1_600_000_000

Attributes = Mapping[str, str]


class MemoryDisk:
    """A disk in memory, whose copies share what none of them has written since."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._blocks = [_whole(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
        self.written: set[int] = set()

    @property
    def size(self) -> int:
        return len(self._blocks) * BLOCK

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self._blocks)

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size
        first, within = divmod(offset, BLOCK)
        last = -(-(offset + length) // BLOCK)
        found = self._blocks[first] if last - first == 1 else b"".join(self._blocks[first:last])
        return found[within : within + length]

    def write(self, offset: int, *parts: memoryview) -> None:
        data = b"".join(parts)
        assert offset % BLOCK == len(data) % BLOCK == 0
        assert 0 <= offset <= offset + len(data) <= self.size
        first, count = offset // BLOCK, len(data) // BLOCK
        self._blocks[first : first + count] = MemoryDisk(data)._blocks
        self.written.update(range(first, first + count))

    def damage(self, offset: int, data: bytes) -> None:
        """Put other bytes anywhere, as no compiler does."""
        first, last = offset // BLOCK, -(-(offset + len(data)) // BLOCK)
        piece = bytearray(b"".join(self._blocks[first:last]))
        within = offset - first * BLOCK
        piece[within : within + len(data)] = data
        self._blocks[first:last] = MemoryDisk(piece)._blocks

    def copy(self) -> MemoryDisk:
        """Return another one with the same bytes, of which nothing is written yet."""
        made = MemoryDisk(b"")
        made._blocks = self._blocks.copy()
        return made

    def used(self) -> Iterator[tuple[int, bytes]]:
        """Yield the blocks that aren't all zeros, with their offsets."""
        for number, block in enumerate(self._blocks):
            if block is not ZEROS:
                yield number * BLOCK, block


def _whole(block: bytes | bytearray) -> bytes:
    return ZEROS if block == ZEROS else bytes(block.ljust(BLOCK, b"\0"))


@cache
def _empty(size: int) -> MemoryDisk:
    disk = MemoryDisk(b"")
    disk._blocks = [ZEROS] * (size // BLOCK)
    format_disk(disk, size, bytes(range(32)))
    return disk


def empty_disk(size: int = SIZE) -> MemoryDisk:
    """A base disk."""
    return _empty(size).copy()


def check(disk: MemoryDisk) -> None:
    """Fail unless e2fsck finds nothing to say about a disk."""
    program = shutil.which("e2fsck", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return
    with tempfile.NamedTemporaryFile(prefix="vic-disk-") as file:
        # Holes for zeros: most of a disk is empty.
        file.truncate(disk.size)
        for at, block in disk.used():
            if file.tell() != at:
                file.seek(at)
            file.write(block)
        file.flush()
        ran = subprocess.run(
            [program, "-fn", file.name], capture_output=True, text=True, check=False
        )
    lines = [line for line in ran.stdout.splitlines() if not line.startswith("Pass ")]
    assert ran.returncode == 0, ran.stdout
    assert len(lines) == 1, ran.stdout


def apply(
    disk: MemoryDisk,
    tar: bytes,
    limits: Limits = Limits(),  # noqa: B008
) -> tuple[MemoryDisk, LayerInfo]:
    """Compile a layer onto a copy of a disk; e2fsck must be silent about the result."""
    child = disk.copy()
    info = compile_delta(io.BytesIO(tar), disk, child, limits)
    check(child)
    return child, info


def compile_all(*tars: bytes, size: int = SIZE) -> FileSystem:
    """Compile layers one onto another, and read the result."""
    disk = empty_disk(size)
    for tar in tars:
        disk, _ = apply(disk, tar)
    return FileSystem(disk)


def member(
    name: str,
    data: bytes | None = None,
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    mtime: float = MTIME,
    device: tuple[int, int] = (0, 0),
    pax: Attributes | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a tar; data makes a file."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    info.mode = mode
    info.uid, info.gid = owner
    info.mtime = mtime
    info.devmajor, info.devminor = device
    info.pax_headers = dict(pax or {})
    info.size = len(data or b"")
    return info, data or b""


def file(name: str, data: bytes = b"", **options: object) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file."""
    return member(name, data, **options)  # type: ignore[arg-type]


def directory(name: str, mode: int = 0o755, **options: object) -> tuple[tarfile.TarInfo, bytes]:
    """A directory."""
    return member(name, kind=tarfile.DIRTYPE, mode=mode, **options)  # type: ignore[arg-type]


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return member(name, kind=tarfile.SYMTYPE, link=target, mode=0o777)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A hard link."""
    return member(name, kind=tarfile.LNKTYPE, link=target)


def tar(
    *members: tuple[tarfile.TarInfo, bytes],
    format: int = tarfile.PAX_FORMAT,  # noqa: A002
) -> bytes:
    """A tar of members, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tree(files: FileSystem) -> dict[str, str]:
    """Every path below the root with its kind, and a file's or link's content."""
    found: dict[str, str] = {}
    for path, info in files.walk():
        name = path.decode("utf-8", "surrogateescape")
        if not name:
            continue
        if stat.S_ISREG(info.mode):
            data = b"".join(files.stream(info.number))
            assert len(data) == info.size
            found[name] = "file " + data.decode("latin-1")
        elif stat.S_ISLNK(info.mode):
            found[name] = "link " + files.link_target(path).decode("utf-8", "surrogateescape")
        elif stat.S_ISDIR(info.mode):
            found[name] = "directory"
        else:
            found[name] = f"{stat.filemode(info.mode)[0]} {info.device}"
    return found
