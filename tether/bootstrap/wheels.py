"""Fetches the Python wheels of the image: the versions that the host itself runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tether.bootstrap.errors import PackageUnavailableError

DISTRIBUTIONS = ("grpcio", "protobuf", "typing_extensions")
# Debian's CPython 3.11, glibc 2.36: any manylinux wheel up to that glibc will do.
_TARGET = (
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=abi3",
    "--abi=none",
    "--platform=manylinux2014_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux_2_28_x86_64",
    "--platform=any",
)


@dataclass(frozen=True)
class Wheel:
    """One downloaded wheel."""

    name: str
    version: str
    path: Path
    sha256: str


def installed_versions() -> dict[str, str]:
    """The versions of the image's distributions in the interpreter that runs now."""
    try:
        return {name: metadata.version(name) for name in DISTRIBUTIONS}
    except metadata.PackageNotFoundError as error:
        raise PackageUnavailableError(f"{error.name} is not installed here") from error


def fetch(versions: dict[str, str], directory: Path) -> list[Wheel]:
    """Download the wheels that aren't in ``directory`` yet."""
    wheels = []
    for name, version in versions.items():
        target = directory / f"{name}-{version}"
        if not any(target.glob("*.whl")):
            _download(name, version, target)
        path = next(target.glob("*.whl"))
        wheels.append(Wheel(name, version, path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return wheels


def _download(name: str, version: str, target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    answer = subprocess.run(
        [*pip, "--only-binary=:all:", *_TARGET, f"--dest={target}", f"{name}=={version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise PackageUnavailableError(
            f"pip can't fetch {name} {version} for the image: {answer.stderr.strip()}"
        )


def unpack(wheel: Wheel, target: Path) -> None:
    """Unpack a wheel's files under ``target``."""
    with zipfile.ZipFile(wheel.path) as archive:
        archive.extractall(target)
