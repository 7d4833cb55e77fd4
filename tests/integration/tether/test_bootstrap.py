"""The bootstrap image as it is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.integration.tether.machine import cache_directory
from tether.bootstrap.image import BootstrapImage, build

# Guest memory that the unpacked image may take, of the 80 MB that the tether may take in all.
_LARGEST = 60 * 1024 * 1024


def test_same_inputs_give_the_same_bytes(image: BootstrapImage, tmp_path: Path) -> None:
    shutil.copytree(cache_directory() / "downloads", tmp_path / "downloads")
    again = build(tmp_path)
    assert again.digest == image.digest
    for name in ("vmlinuz", "initrd.img", "manifest.json"):
        assert (again.directory / name).read_bytes() == (image.directory / name).read_bytes()


def test_manifest_says_what_is_in_it(image: BootstrapImage) -> None:
    manifest = json.loads((image.directory / "manifest.json").read_bytes())
    assert manifest["digest"] == image.digest
    assert manifest["kernel"].endswith("-cloud-amd64")
    assert manifest["unpacked_bytes"] < _LARGEST


def test_second_build_finds_the_first(image: BootstrapImage) -> None:
    manifest = image.directory / "manifest.json"
    before = manifest.stat()
    assert build(cache_directory()) == image
    after = manifest.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_image_is_for_everybody_to_read_and_nobody_to_write(image: BootstrapImage) -> None:
    assert image.directory.stat().st_mode & 0o777 == 0o755
    for path in image.directory.iterdir():
        assert path.stat().st_mode & 0o777 == 0o444
