"""Debian's package lists, ELF files and kernel modules as the builder reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tether.bootstrap import debian
from tether.bootstrap.elf import ElfFile, library_closure
from tether.bootstrap.errors import BootstrapError, MissingLibraryError, PackageUnavailableError

SHOW = """\
Package: libc6
Version: 2.36-9+deb12u14
Architecture: amd64
Depends: libgcc-s1
Description-en: GNU C Library
 More: text
SHA256: aa

Package: zlib1g
Version: 1:1.2.13.dfsg-1
Architecture: amd64
SHA256: bb
"""


def test_stanzas_are_read() -> None:
    libc, zlib = debian.parse_show(SHOW)
    assert (libc.name, libc.version, libc.sha256, libc.depends) == (
        "libc6",
        "2.36-9+deb12u14",
        "aa",
        "libgcc-s1",
    )
    assert zlib.file_name == "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb"


def test_unknown_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_args: object, **_options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 100, "", "E: No packages found")

    monkeypatch.setattr(subprocess, "run", nothing)
    with pytest.raises(PackageUnavailableError, match="run 'apt-get update' first"):
        debian.resolve()


def test_wrong_digest_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    package = debian.parse_show(SHOW)[0]
    path = tmp_path / package.file_name
    path.write_bytes(b"tampered")
    with pytest.raises(BootstrapError, match="digest"):
        debian.fetch([package], tmp_path)
    assert not path.exists()


def test_libraries_of_a_program_are_found() -> None:
    program = Path(sys.executable).resolve()
    assert "libc.so.6" in ElfFile(program.read_bytes()).needed()


def test_missing_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingLibraryError, match=r"libc\.so\.6|lib"):
        library_closure([Path(sys.executable).resolve()], [tmp_path])


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(10), b"MZ" * 50])
def test_damaged_elf_is_refused(data: bytes) -> None:
    with pytest.raises(BootstrapError):
        ElfFile(data)
