"""A boot medium of a bootstrap image: an ISO image that a BIOS starts the same kernel from.

For platforms that give their VMs no kernel from outside, such as vSphere. It holds Debian's
ISOLINUX, the kernel and the initial RAM file system, all in the root directory, and nothing else.
Sources:
ECMA-119 (ISO 9660), the El Torito specification 1.0, and SYSLINUX's wiki on isolinux.bin's boot
information table. Equal inputs give equal bytes.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tether.bootstrap import debian
from tether.bootstrap.errors import BootstrapError

SECTOR = 2048
LOADER_PACKAGES = {
    "isolinux": "usr/lib/ISOLINUX/isolinux.bin",
    "syslinux-common": "usr/lib/syslinux/modules/bios/ldlinux.c32",
}
NAME = "boot.iso"
# Sectors of what comes before the files.
_VOLUME, _BOOT_RECORD, _END, _PATHS_LITTLE, _PATHS_BIG, _ROOT, _CATALOG, _FILES = range(16, 24)
_LOADER, _MODULE, _CONFIG, _KERNEL, _MEMORY = (
    "ISOLINUX.BIN;1",
    "LDLINUX.C32;1",
    "ISOLINUX.CFG;1",
    "VMLINUZ.;1",
    "INITRD.IMG;1",
)
# Of 512-byte sectors that the BIOS loads; the loader loads the rest of itself.
_LOADED = 4
_TABLE = slice(8, 64)
# Years since 1900, month, day, hour, minute, second, zone: one moment for all media.
_WHEN = bytes([125, 1, 1, 0, 0, 0, 0])
_NEVER = b"0" * 16 + b"\0"


@dataclass(frozen=True)
class _File:
    name: str
    sector: int
    size: int
    content: bytes | Path


def build_iso(image: Path, cache: Path | None = None) -> Path:
    """Return the boot medium of a bootstrap image's directory, made where there is none.

    ``cache`` is where it is kept: beside the image by default. Raises BootstrapError.
    """
    target = (cache or image.parent / "media" / image.name) / NAME
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    loader, module = _loader(image.parent / "downloads")
    arguments = json.loads((image / "manifest.json").read_text())["kernel_arguments"]
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        try:
            for block in blocks(image / "vmlinuz", image / "initrd.img", arguments, loader, module):
                part.write(block)
            Path(part.name).chmod(0o444)
            Path(part.name).rename(target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return target


def _loader(downloads: Path) -> tuple[bytes, bytes]:
    """Return ISOLINUX and the module that it needs, of Debian's packages."""
    packages = debian.resolve_named(*LOADER_PACKAGES)
    files = debian.fetch(packages, downloads)
    with tempfile.TemporaryDirectory() as root:
        for name in LOADER_PACKAGES:
            debian.unpack(files[name], Path(root))
        try:
            loader, module = ((Path(root) / p).read_bytes() for p in LOADER_PACKAGES.values())
        except OSError as error:
            raise BootstrapError(f"Debian's ISOLINUX lacks {error.filename}") from error
    return loader, module


def blocks(
    kernel: Path, memory: Path, arguments: str, loader: bytes, module: bytes
) -> Iterator[bytes]:
    """Yield the medium's bytes."""
    config = (
        f"DEFAULT vic\nPROMPT 0\nTIMEOUT 0\nLABEL vic\n  KERNEL vmlinuz\n"
        f"  APPEND initrd=initrd.img {arguments}\n"
    ).encode()
    contents: list[tuple[str, bytes | Path]] = [
        (_MEMORY, memory),
        (_LOADER, loader),
        (_CONFIG, config),
        (_MODULE, module),
        (_KERNEL, kernel),
    ]
    files, sector = [], _FILES
    for name, content in sorted(contents):
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        files.append(_File(name, sector, size, content))
        sector += _sectors(size)
    boot = next(file for file in files if file.name == _LOADER)
    yield bytes(_VOLUME * SECTOR)
    yield _volume(sector)
    yield _filled(b"\0CD001\x01EL TORITO SPECIFICATION", 0x47) + _boot_pointer()
    yield _filled(b"\xffCD001\x01", SECTOR)
    yield _filled(struct.pack("<BBIHBB", 1, 0, _ROOT, 1, 0, 0), SECTOR)
    yield _filled(struct.pack(">BBIHBB", 1, 0, _ROOT, 1, 0, 0), SECTOR)
    yield _root(files)
    yield _catalog(boot.sector)
    for file in files:
        content = file.content
        if file is boot:
            assert isinstance(content, bytes)
            content = _informed(content, file.sector)
        if isinstance(content, Path):
            with content.open("rb") as source:
                while chunk := source.read(1 << 20):
                    yield chunk
        else:
            yield content
        yield bytes(_sectors(file.size) * SECTOR - file.size)


def _informed(loader: bytes, sector: int) -> bytes:
    """Return ISOLINUX with the table that tells it where it is."""
    words = loader[64:] + bytes(-len(loader) % 4)
    total = sum(struct.unpack(f"<{len(words) // 4}I", words)) & 0xFFFFFFFF
    table = struct.pack("<IIII", _VOLUME, sector, len(loader), total)
    return loader[: _TABLE.start] + _filled(table, _TABLE.stop - _TABLE.start) + loader[64:]


def _volume(sectors: int) -> bytes:
    """Return the primary volume descriptor."""
    fields = b"\x01CD001\x01\0" + b" " * 32 + b"VIC".ljust(32) + bytes(8)
    fields += _both(sectors, 4) + bytes(32) + _both(1, 2) + _both(1, 2) + _both(SECTOR, 2)
    fields += _both(10, 4) + struct.pack("<II", _PATHS_LITTLE, 0)
    fields += struct.pack(">II", _PATHS_BIG, 0) + _entry(b"\0", _ROOT, SECTOR, directory=True)
    fields += b" " * (128 * 4 + 37 * 3) + _NEVER * 4 + b"\x01\0"
    return _filled(fields, SECTOR)


def _boot_pointer() -> bytes:
    return _filled(struct.pack("<I", _CATALOG), SECTOR - 0x47)


def _catalog(loader: int) -> bytes:
    """Return the boot catalog: a validation entry, and one to boot without emulation."""
    start, end = struct.pack("<BBH24s", 1, 0, 0, b"vic"), b"\x55\xaa"
    words = struct.unpack("<16H", start + b"\0\0" + end)
    check = struct.pack("<H", -sum(words) & 0xFFFF)
    boot = struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, _LOADED, loader)
    return _filled(start + check + end + boot, SECTOR)


def _root(files: list[_File]) -> bytes:
    entries = [_entry(name, _ROOT, SECTOR, directory=True) for name in (b"\0", b"\x01")]
    entries += [_entry(file.name.encode(), file.sector, file.size) for file in files]
    return _filled(b"".join(entries), SECTOR)


def _entry(name: bytes, sector: int, size: int, *, directory: bool = False) -> bytes:
    fields = b"\0" + _both(sector, 4) + _both(size, 4) + _WHEN
    fields += bytes([2 if directory else 0, 0, 0]) + _both(1, 2) + bytes([len(name)]) + name
    fields += bytes(-(len(fields) + 1) % 2)
    return bytes([len(fields) + 1]) + fields


def _both(value: int, size: int) -> bytes:
    """Return a number in both orders, as ISO 9660 has them."""
    return value.to_bytes(size, "little") + value.to_bytes(size, "big")


def _filled(content: bytes, size: int) -> bytes:
    assert len(content) <= size
    return content + bytes(size - len(content))


def _sectors(size: int) -> int:
    return -(-size // SECTOR)
