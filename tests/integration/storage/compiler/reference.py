"""Comparing a compiled disk with what other programs make of the same tars."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.storage.compiler import FileSystem, Stat, compile_layer, create_base

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is missing."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(*command: str | Path) -> str:
    """Run a program that must succeed; its output."""
    environment = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", LC_ALL="C")
    ran = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment,
        errors="surrogateescape",
        check=False,
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def build_chain(directory: Path, tars: list[Path], size: int = 1 << 30) -> list[Path]:
    """A base and a disk for each tar, base first."""
    disks = [directory / "base.vmdk"]
    create_base(disks[0], size, durable=False)
    for number, tar in enumerate(tars):
        disk = directory / f"layer-{number}.vmdk"
        with tar.open("rb", buffering=0) as stream:
            compile_layer(stream, disks[-1], disk, chain_id=f"layer {number}", durable=False)
        disks.append(disk)
    return disks


@contextlib.contextmanager
def raw(disk: Path) -> Iterator[Path]:
    """The whole chain of a disk as one plain file."""
    with tempfile.TemporaryDirectory(dir=disk.parent) as directory:
        path = Path(directory) / "raw"
        run("qemu-img", "convert", "-O", "raw", disk, path)
        yield path


def check(disk: Path) -> None:
    """e2fsck and qemu-img find nothing to say."""
    assert "No errors" in run("qemu-img", "check", disk)
    with raw(disk) as path:
        lines = run("e2fsck", "-fn", path).splitlines()
        assert [line for line in lines if not line.startswith("Pass ")][1:] == []


@contextlib.contextmanager
def mounted(path: Path, options: str = "ro") -> Iterator[Path]:
    """A raw disk mounted by the kernel."""
    with tempfile.TemporaryDirectory() as directory:
        run("mount", "-o", f"loop,{options}", path, directory)
        try:
            yield Path(directory)
        finally:
            run("umount", directory)


@dataclass(frozen=True)
class Entry:
    """What two trees must agree on."""

    mode: int
    uid: int
    gid: int
    mtime: int
    links: int | None
    content: bytes
    device: tuple[int, int] | None
    xattrs: tuple[tuple[bytes, bytes], ...]
    peers: frozenset[bytes]
    """All names of the same file."""


def of_host(top: Path) -> dict[bytes, Entry]:
    """A tree on this machine."""
    base = os.fsencode(top)
    names: dict[tuple[int, int], set[bytes]] = {}
    found: dict[bytes, os.stat_result] = {b"": os.lstat(base)}
    for directory, folders, files in os.walk(base):
        for name in folders + files:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, base)
            info = os.lstat(path)
            found[relative] = info
            if not stat.S_ISDIR(info.st_mode):
                names.setdefault((info.st_dev, info.st_ino), set()).add(relative)
    return {
        relative: _host_entry(os.path.join(base, relative) if relative else base, info, names)
        for relative, info in found.items()
    }


def _host_entry(
    path: bytes, info: os.stat_result, names: dict[tuple[int, int], set[bytes]]
) -> Entry:
    content = b""
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    listed = os.listxattr(path, follow_symlinks=False)
    xattrs = {os.fsencode(n): os.getxattr(path, n, follow_symlinks=False) for n in listed}
    is_device = stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)
    return Entry(
        mode=info.st_mode,
        uid=info.st_uid,
        gid=info.st_gid,
        mtime=info.st_mtime_ns,
        links=None if stat.S_ISDIR(info.st_mode) else info.st_nlink,
        content=content,
        device=(os.major(info.st_rdev), os.minor(info.st_rdev)) if is_device else None,
        xattrs=tuple(sorted(xattrs.items())),
        peers=frozenset(names.get((info.st_dev, info.st_ino), ())),
    )


def of_disk(disk: Path) -> dict[bytes, Entry]:
    """A tree in a compiled disk, by our own reader."""
    with FileSystem.open(disk) as files:
        listed = dict(files.walk())
        names: dict[int, set[bytes]] = {}
        for path, info in listed.items():
            if not stat.S_ISDIR(info.mode):
                names.setdefault(info.number, set()).add(path)
        return {path: _disk_entry(files, path, info, names) for path, info in listed.items()}


def _disk_entry(files: FileSystem, path: bytes, info: Stat, names: dict[int, set[bytes]]) -> Entry:
    content = b""
    if stat.S_ISREG(info.mode):
        digest = hashlib.sha256()
        for piece in files.stream(info.number):
            digest.update(piece)
        content = digest.digest()
    elif stat.S_ISLNK(info.mode):
        content = files.link_target(path)
    return Entry(
        mode=info.mode,
        uid=info.uid,
        gid=info.gid,
        mtime=info.mtime,
        links=None if stat.S_ISDIR(info.mode) else info.links,
        content=content,
        device=info.device,
        xattrs=tuple(sorted(files.xattrs(path).items())),
        peers=frozenset(names.get(info.number, ())),
    )


def differences(one: dict[bytes, Entry], other: dict[bytes, Entry]) -> list[str]:
    """Where two trees differ, in words."""
    return [
        f"{path!r}: {one.get(path)} / {other.get(path)}"
        for path in sorted(one.keys() | other.keys())
        if one.get(path) != other.get(path)
    ]
