"""Which package a kernel is from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tether.bootstrap import debian
from tether.bootstrap.errors import PackageUnavailableError

STANZAS = {
    "linux-image-rt-amd64": "Depends: linux-image-6.1.0-56-rt-amd64 (= 6.1.192-2)\n",
    "linux-image-6.1.0-56-rt-amd64": "Depends: kmod, initramfs-tools | linux-initramfs-tool\n",
    "bash": "Depends: base-files, debianutils\n",
}


@pytest.fixture(autouse=True)
def _lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        text = "".join(
            f"Package: {name}\nVersion: 1\nArchitecture: amd64\n{STANZAS[name]}SHA256: aa\n\n"
            for name in command
            if name in STANZAS
        )
        return subprocess.CompletedProcess([], 0, text, "")

    monkeypatch.setattr(subprocess, "run", show)


@pytest.mark.parametrize("name", ["linux-image-rt-amd64", "linux-image-6.1.0-56-rt-amd64"])
def test_a_kernel_by_either_name(name: str) -> None:
    assert debian.resolve_kernel(name).name == "linux-image-6.1.0-56-rt-amd64"


@pytest.mark.parametrize(("name", "words"), [("bash", "names no kernel"), ("x", "doesn't know x")])
def test_a_package_that_is_none(name: str, words: str) -> None:
    with pytest.raises(PackageUnavailableError, match=words):
        debian.resolve_kernel(name)


def test_a_file_that_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    (tmp_path / "x.deb").write_bytes(b"x")
    with pytest.raises(PackageUnavailableError, match="is no Debian package"):
        debian.read_package(tmp_path / "x.deb")
