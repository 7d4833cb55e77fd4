"""Fetches Debian packages with apt and unpacks them with dpkg-deb; installs nothing."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tether.bootstrap.errors import BootstrapError, PackageUnavailableError

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
PYTHON = "python3.11"
PACKAGES = (
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "tini",
)
# A kernel's own package, and a word of another one's "Depends" that names one.
_KERNEL_NAME = re.compile(r"\blinux-image-[0-9][\w.+~-]*")
_APT_OPTIONS = ("-o", "APT::Sandbox::User=root", "-q")


@dataclass(frozen=True)
class DebianPackage:
    """One exact package, as the machine's package lists describe it."""

    name: str
    version: str
    architecture: str
    sha256: str
    depends: str = ""

    @property
    def file_name(self) -> str:
        """The name that ``apt-get download`` gives the file."""
        version = self.version.replace(":", "%3a")
        return f"{self.name}_{version}_{self.architecture}.deb"


def parse_show(text: str) -> list[DebianPackage]:
    """The packages of ``apt-cache show``'s answer (deb822 stanzas)."""
    packages = []
    for stanza in re.split(r"\n\s*\n", text.strip()):
        fields = {}
        for line in stanza.splitlines():
            key, colon, value = line.partition(": ")
            if colon and not line.startswith(" "):
                fields[key] = value
        if "SHA256" in fields:
            packages.append(
                DebianPackage(
                    fields["Package"],
                    fields["Version"],
                    fields["Architecture"],
                    fields["SHA256"],
                    fields.get("Depends", ""),
                )
            )
    return packages


def resolve() -> list[DebianPackage]:
    """The packages of the image, in the versions that the machine's lists offer.

    Raises PackageUnavailableError when the lists don't know one of them.
    """
    found = _show(*PACKAGES)
    return [found[package] for package in PACKAGES]


def resolve_named(*names: str) -> list[DebianPackage]:
    """The packages of these names, in the versions that the machine's lists offer.

    Raises PackageUnavailableError when the lists don't know one of them.
    """
    found = _show(*names)
    return [found[name] for name in names]


def resolve_kernel(name: str = KERNEL_META_PACKAGE) -> DebianPackage:
    """The kernel's own package behind a name such as ``linux-image-amd64``, or that itself.

    Raises PackageUnavailableError when the lists don't know it, or it has to do with no kernel.
    """
    package = _show(name)[name]
    if _KERNEL_NAME.fullmatch(name):
        return package
    kernel = _KERNEL_NAME.search(package.depends)
    if kernel is None:
        raise PackageUnavailableError(f"{name} names no kernel package")
    return _show(kernel.group())[kernel.group()]


def read_package(path: Path) -> DebianPackage:
    """Describe a package that is a file. Raises PackageUnavailableError when it is none."""
    answer = subprocess.run(
        ["dpkg-deb", "--field", str(path), "Package", "Version", "Architecture"],
        capture_output=True,
        text=True,
        check=False,
    )
    fields = dict(line.split(": ", 1) for line in answer.stdout.splitlines() if ": " in line)
    if answer.returncode or len(fields) != 3:
        why = answer.stderr.strip().splitlines()[:1] or ["it lacks fields"]
        raise PackageUnavailableError(f"{path} is no Debian package: {why[0]}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return DebianPackage(fields["Package"], fields["Version"], fields["Architecture"], digest)


def _show(*names: str) -> dict[str, DebianPackage]:
    answer = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {package.name: package for package in parse_show(answer.stdout)}
    missing = [name for name in names if name not in found]
    if missing:
        raise PackageUnavailableError(
            f"apt doesn't know {', '.join(missing)}: run 'apt-get update' first"
            " (Debian 12 on amd64 is what the image is made from)"
        )
    return found


def fetch(packages: list[DebianPackage], directory: Path) -> dict[str, Path]:
    """Download what isn't in ``directory`` yet, and check every file's digest."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not (directory / package.file_name).exists()]
    if missing:
        specs = [f"{package.name}={package.version}" for package in missing]
        answer = subprocess.run(
            ["apt-get", *_APT_OPTIONS, "download", *specs],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise PackageUnavailableError(
                f"apt-get download failed, 'apt-get update' may help: {answer.stderr.strip()}"
            )
    files = {}
    for package in packages:
        path = directory / package.file_name
        if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
            path.unlink()
            raise BootstrapError(f"{path.name} doesn't have the digest that apt's lists give")
        files[package.name] = path
    return files


def unpack(package: Path, target: Path) -> None:
    """Unpack a package's files under ``target``."""
    subprocess.run(["dpkg-deb", "--extract", str(package), str(target)], check=True)
