"""The record of kernels that have names, and what an upgrade does with them."""

import json
from pathlib import Path

import pytest

from installer import kernels
from installer.errors import InstallerError
from installer.instance import Instance, default_options
from installer.kernels import Kernel, Record, provide_kernels, read_record, write_record
from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.image import BootstrapImage, KernelSource

DEFAULT, OLD, NEW = "d" * 64, "a" * 64, "b" * 64


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    made = Instance(tmp_path, "0a1b2c3d", 0, default_options(tmp_path))
    for directory in (made.bootstrap_dir, made.kernels_dir):
        directory.mkdir()
    return made


def image(tmp_path: Path, digest: str) -> BootstrapImage:
    directory = tmp_path / "cache" / digest
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("vmlinuz", "initrd.img"):
        (directory / name).touch()
    (directory / "manifest.json").write_text(json.dumps({"digest": digest}))
    return BootstrapImage(directory)


def linked(instance: Instance) -> set[str]:
    return {path.name for path in instance.bootstrap_dir.iterdir()} - {"kernels.json"}


def test_a_new_version_builds_an_image_for_each_kernel(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[KernelSource] = []

    def build(_cache: Path, kernel: KernelSource) -> BootstrapImage:
        asked.append(kernel)
        if kernel.package == "linux-image-gone":
            raise BootstrapError("apt doesn't know linux-image-gone")
        return image(tmp_path, NEW)

    monkeypatch.setattr(kernels, "build", build)
    (instance.bootstrap_dir / DEFAULT).symlink_to(image(tmp_path, DEFAULT).directory)
    (instance.bootstrap_dir / OLD).symlink_to(image(tmp_path, OLD).directory)
    known = {
        "rt": Kernel(OLD, "6.1-rt", "linux-image-rt-amd64"),
        "own": Kernel(OLD, "6.9", ""),
        "gone": Kernel(OLD, "5.1", "linux-image-gone"),
    }
    write_record(instance, Record(OLD, known))
    said: list[str] = []
    provide_kernels(instance, DEFAULT, said.append)
    assert asked[0].package == "linux-image-rt-amd64"
    assert asked[1].file == instance.kernels_dir / "own.deb"
    assert linked(instance) == {DEFAULT, NEW}
    record = read_record(instance)
    assert record.default == DEFAULT
    assert {name: kernel.digest for name, kernel in record.kernels.items()} == {
        "rt": NEW,
        "own": NEW,
        "gone": "",
    }
    (sentence,) = said
    assert sentence.startswith("the kernel gone is not there: ")


def test_a_record_that_is_damaged_is_told(instance: Instance) -> None:
    assert read_record(instance) == Record("", {})
    (instance.bootstrap_dir / "kernels.json").write_text("{")
    with pytest.raises(InstallerError, match=r"kernels\.json is damaged"):
        read_record(instance)
