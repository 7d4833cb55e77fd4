"""Whole trees of images: as a compiled disk shows them when the kernel mounts it, beside umoci's.

umoci is the reference unpacker (its own code and Go's tar reader, none of ours). Needs root: it
makes devices and owners, and the disk is mounted read-only from a loop device, without its journal.
"""

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.images import (
    Image,
    Layer,
    busybox_image,
    device,
    directory,
    file,
    hardlink,
    make_tar,
    multi_layer_image,
    opaque,
    symlink,
    whiteout,
    write_oci_layout,
)

Tree = dict[bytes, tuple[object, ...]]
"""What there is by its path: kind, mode, owners, time, content or target, attributes, links."""

LONG = "n" * 200


def hostile_image() -> Image:
    """Layers with what unpackers have stumbled over, and which all the same means something."""
    lower = [
        directory("d", mode=0o1777, uid=4_294_967_294, gid=70_000),
        file("/absolute", "absolute\n"),
        file("./././dotted//name", "dotted\n"),
        file("twice", "first\n"),
        file("twice", "second\n"),
        file("setuid", "s\n", mode=0o4755),
        file("setgid", "s\n", mode=0o2755),
        file("d/owned", "o\n", uid=123_456, gid=4_294_967_294),
        file("d/caps", "c\n", xattrs={"user.vic": b"value", "user.empty": b""}),
        file(f"{LONG}/{LONG}/{LONG}", "long\n"),
        symlink(f"{LONG}/link", f"/{LONG}/{LONG}/{LONG}"),
        file("name-\udcff\udcfe", "not UTF-8\n"),
        file("new\nline", "n\n"),
        hardlink("hard", "twice"),
        hardlink("harder", "hard"),
        symlink("loop", "loop"),
        symlink("out", "../../../../etc"),
        device("null", major=1, minor=3),
        device("disk", major=8, minor=0, block=True),
        directory("gone"),
        file("gone/deep/er", "g\n"),
        directory("opaque"),
        file("opaque/before", "b\n"),
        directory("becomes-file"),
        file("becomes-file/child", "c\n"),
        file("becomes-directory", "f\n"),
        file("was-a-link", "w\n"),
        symlink("link-to-d", "d"),
        file("epoch", "e\n", mtime=0),
        file("fraction", "f\n", mtime=1_600_000_000.123456789),
    ]
    upper = [
        file("opaque/after", "a\n"),
        opaque("opaque"),
        whiteout("gone"),
        whiteout("harder"),
        whiteout("never-was"),
        file("becomes-file", "a file now\n"),
        directory("becomes-directory", mode=0o700),
        file("becomes-directory/child", "c\n"),
        symlink("was-a-link", "/d/owned"),
        hardlink("hard-to-lower", "setuid", mode=0o4755),
        file("gone", "another\n"),
    ]
    top = [
        whiteout("gone"),
        directory("gone"),
        file("gone/again", "again\n"),
        file("hard", "own\n"),
    ]
    return replace(
        busybox_image(), layers=tuple(Layer(make_tar(part)) for part in (lower, upper, top))
    )


def many_files_image(count: int = 20_000) -> Image:
    """A layer of so many small files, and one that takes a tenth of them away."""
    names = [f"tree/{number % 97}/{number % 11}/{number}" for number in range(count)]
    entries = [file(name, f"{name}\n" * (hash_of(name) % 9)) for name in names]
    gone = [whiteout(name) for name in names[::10]]
    return replace(busybox_image(), layers=(Layer(make_tar(entries)), Layer(make_tar(gone))))


def hash_of(name: str) -> int:
    """Return a number that is the same in each run."""
    return hashlib.sha256(name.encode()).digest()[0]


SMALL: dict[str, Image] = {
    "busybox": busybox_image(),
    "40 layers": multi_layer_image(40),
    "hostile": hostile_image(),
}


def reference_tree(image: Image, work: Path) -> Tree:
    """Return an image's tree as umoci unpacks it."""
    layout = write_oci_layout(image, work / "layout")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:latest", work / "bundle"],
        check=True,
        capture_output=True,
    )
    return tree_of(work / "bundle" / "rootfs")


def disk_tree(top: Path, work: Path) -> Tree:
    """Return the tree of a chain's topmost VMDK, which QEMU's tools and e2fsck find sound."""
    raw = work / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", top, raw], check=True)
    subprocess.run(["e2fsck", "-fn", raw], check=True, capture_output=True)
    with mounted(raw, work / "mount") as root:
        found = tree_of(root)
    raw.unlink()
    return found


@contextmanager
def mounted(raw: Path, point: Path) -> Iterator[Path]:
    """Mount a file system read-only."""
    point.mkdir()
    subprocess.run(["mount", "-o", "loop,ro,noload", raw, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def tree_of(root: Path) -> Tree:
    """Describe everything below a directory."""
    start = os.fsencode(root)
    inodes: dict[int, list[bytes]] = {}
    found: Tree = {}
    for directory_, names, files in os.walk(start):
        for name in (*names, *files):
            path = os.path.join(directory_, name)
            shown = os.path.relpath(path, start)
            state = os.lstat(path)
            if not stat.S_ISDIR(state.st_mode):
                inodes.setdefault(state.st_ino, []).append(shown)
            found[shown] = (*_described(path, state), ())
    for names in inodes.values():
        for name in names:
            found[name] = (*found[name][:-1], tuple(sorted(names)))
    return found


def _described(path: bytes, state: os.stat_result) -> tuple[object, ...]:
    kind = stat.S_IFMT(state.st_mode)
    content: object = b""
    if kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind == stat.S_IFREG:
        with open(path, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        content = (os.major(state.st_rdev), os.minor(state.st_rdev))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in names)
    # Directories that no layer lists get their time from the clock.
    time = None if kind == stat.S_IFDIR else state.st_mtime_ns
    return kind, state.st_mode, state.st_uid, state.st_gid, time, content, attributes


def differences(found: Tree, expected: Tree) -> list[str]:
    """Say where two trees differ."""
    paths = sorted({*found, *expected})
    return [
        f"{path!r}: {found.get(path)}, not {expected.get(path)}"
        for path in paths
        if found.get(path) != expected.get(path)
    ]
