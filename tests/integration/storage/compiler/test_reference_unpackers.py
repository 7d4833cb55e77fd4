"""Compiled trees equal those of GNU tar and umoci."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.storage.compiler.reference import (
    build_chain,
    check,
    differences,
    mounted,
    needs,
    of_disk,
    of_host,
    raw,
    root_only,
    run,
)
from tests.unit.storage.compiler.test_attributes import NAMED_USER, NO_ID, acl_value

pytestmark = [root_only, needs("tar", "umoci", "qemu-img", "e2fsck")]


def grow(top: Path, seed: int) -> None:
    """A tree with a bit of everything that a tar carries."""
    numbers = random.Random(seed)
    folders = [top]
    for number in range(60):
        folder = numbers.choice(folders) / f"d{number}"
        folder.mkdir(mode=numbers.choice([0o755, 0o700, 0o2775, 0o1777]))
        os.chown(folder, numbers.randrange(70_000), numbers.randrange(70_000))
        folders.append(folder)
    files = []
    for number in range(300):
        path = numbers.choice(folders) / ("f" * numbers.randrange(120) + f"-{number}")
        path.write_bytes(numbers.randbytes(numbers.choice([0, 1, 100, 4096, 5000, 70_000])))
        os.chown(path, numbers.randrange(1 << 31), numbers.randrange(1 << 31))
        path.chmod(numbers.choice([0o644, 0o600, 0o4755, 0o6711, 0o000]))
        files.append(path)
    for number in range(40):
        os.link(numbers.choice(files), numbers.choice(folders) / f"h{number}")
        os.symlink("t" * numbers.randrange(1, 300), numbers.choice(folders) / f"s{number}")
    for number in range(20):
        path = numbers.choice(files)
        name = f"user.{'n' * numbers.randrange(1, 60)}"
        # Never empty: GNU tar keeps such an attribute, POSIX (pax), Docker and we read it as none.
        os.setxattr(path, name, numbers.randbytes(number * 20) or b"-")
    os.setxattr(files[0], "security.capability", bytes.fromhex("01000002" + "0004" + "00" * 14))
    os.setxattr(files[1], "trusted.t", b"\0\xff\n=")
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o60660, os.makedev(259, 70_000))
    os.mkfifo(top / "fifo")
    with (top / "holes").open("wb") as file:
        for number in range(30):
            file.seek(number * 1_000_003)
            file.write(numbers.randbytes(3000))
        file.truncate(50_000_000)
    os.makedirs(top / os.fsdecode(b"latin-\xe9/\xff"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(top / "socket"))  # tar leaves it out
    listener.close()
    for path in [*folders[1:], *files]:
        os.utime(path, ns=(0, numbers.randrange(1, 1 << 62) % 4_000_000_000_000_000_000))


@pytest.mark.parametrize("form", ["gnu", "posix"])
@pytest.mark.parametrize("sparse", [[], ["--sparse"]])
def test_a_tree_equals_gnu_tar_s(tmp_path: Path, form: str, sparse: list[str]) -> None:
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    source.mkdir()
    unpacked.mkdir()
    grow(source, 7)
    packed = tmp_path / "layer.tar"
    options = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
    if form == "gnu":
        options = ["--numeric-owner"]
    subprocess.run(
        ["tar", f"--format={form}", *options, *sparse, "-C", source, "-cf", packed, "."],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    run("tar", *options, "-C", unpacked, "-xpf", packed)
    disks = build_chain(tmp_path, [packed])
    check(disks[-1])
    assert differences(of_host(unpacked), of_disk(disks[-1])) == []
    with raw(disks[-1]) as path, mounted(path) as top:
        assert differences(of_host(unpacked), of_host(top)) == []


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_of_every_version_of_gnu_tar(tmp_path: Path, version: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as file:
        for number in range(300):
            file.seek(number * 40_000)
            file.write(b"data %d" % number)
        file.truncate(20_000_000)
    packed = tmp_path / "layer.tar"
    run(
        "tar", "--format=posix", "--sparse", f"--sparse-version={version}",
        "-C", source, "-cf", packed, "holes",
    )  # fmt: skip
    assert packed.stat().st_size < 2_000_000
    disks = build_chain(tmp_path, [packed])
    found = of_disk(disks[-1])
    assert found[b"holes"] == of_host(source)[b"holes"]


def test_access_control_lists(tmp_path: Path) -> None:
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    source.mkdir()
    unpacked.mkdir()
    (source / "f").write_bytes(b"x")
    (source / "d").mkdir()
    both = ("system.posix_acl_access", "system.posix_acl_default")
    named = acl_value((1, 6, NO_ID), (2, 6, 1000), (4, 4, NO_ID), (8, 4, 50), (16, 6, NO_ID),
                      (32, 0, NO_ID))  # fmt: skip
    os.setxattr(source / "f", both[0], named)
    for name in both:
        os.setxattr(source / "d", name, NAMED_USER)
    packed = tmp_path / "layer.tar"
    options = ["--xattrs", "--xattrs-include=*"]
    run("tar", *options, "-C", source, "-cf", packed, ".")
    run("tar", *options, "-C", unpacked, "-xpf", packed)
    disks = build_chain(tmp_path, [packed])
    check(disks[-1])
    ours = of_disk(disks[-1])
    assert len(ours[b"d"].xattrs) == 2
    assert differences(of_host(unpacked), ours) == []


def test_layers_equal_umoci_s(tmp_path: Path) -> None:
    """Three layers with changes, removals and replacements, packed and unpacked by umoci."""
    layout, bundle = tmp_path / "oci", tmp_path / "bundle"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:test")
    run("umoci", "unpack", "--image", f"{layout}:test", bundle)
    top = bundle / "rootfs"
    grow(top, 3)
    (top / "socket").unlink()
    run("umoci", "repack", "--refresh-bundle", "--image", f"{layout}:test", bundle)
    numbers = random.Random(5)
    for _ in range(2):
        paths = sorted(p for p in top.rglob("*") if not p.is_symlink())
        for path in numbers.sample(paths, 60):
            change(path, numbers)
        run("umoci", "repack", "--refresh-bundle", "--image", f"{layout}:test", bundle)
    compare_image(layout, "test", tmp_path)


def change(path: Path, numbers: random.Random) -> None:
    """Do something to a file of a tree, if it is still there."""
    if not path.exists():
        return
    what = numbers.randrange(5)
    if what == 0:
        run("rm", "-rf", path)
    elif what == 1 and path.is_file():
        path.write_bytes(b"changed")
    elif what == 2 and path.is_file():
        path.unlink()
        path.mkdir()
        (path / "inside").write_bytes(b"new")
    elif what == 3 and path.is_dir():
        run("rm", "-rf", path)
        path.write_bytes(b"a file now")
    elif path.is_dir():
        (path / f"new-{numbers.randrange(1000)}").write_bytes(b"x" * 5000)
    else:
        path.chmod(0o641)


def compare_image(layout: Path, tag: str, work: Path) -> None:
    """Compile an OCI image's layers, and compare with what umoci unpacks."""
    import gzip
    import json
    import shutil

    index = json.loads((layout / "index.json").read_bytes())
    name = "org.opencontainers.image.ref.name"
    found = next(m for m in index["manifests"] if m.get("annotations", {}).get(name) == tag)
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / found["digest"].split(":")[1]).read_bytes())
    tars = []
    for number, layer in enumerate(manifest["layers"]):
        tars.append(work / f"layer-{number}.tar")
        with gzip.open(blobs / layer["digest"].split(":")[1]) as blob, tars[-1].open("wb") as file:
            shutil.copyfileobj(blob, file, 1 << 20)
    disks = build_chain(work, tars, 1 << 30)
    for disk in disks[1:]:
        check(disk)
    run("umoci", "unpack", "--image", f"{layout}:{tag}", work / "reference")
    assert differences(of_host(work / "reference/rootfs"), of_disk(disks[-1])) == []
