"""Kernels and bootstrap images that machines boot: DATA/bootstrap/DIGEST/{vmlinuz,initrd.img}."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from hostagent.files import open_bootstrap
from portlayer.errors import NotFound, Reason

NAMES = "kernels.json"
LARGEST_MANIFEST = 1 << 20
LONGEST_ARGUMENTS = 2048  # COMMAND_LINE_SIZE of x86 Linux


@dataclass(frozen=True)
class Bootstrap:
    """A usable image, by what its manifest says."""

    digest: str
    kernel_release: str
    kernel_arguments: str


@dataclass(frozen=True)
class Names:
    """What the administrator calls kernels: their images' digests by name, and the default one."""

    default: str = ""
    kernels: dict[str, str] = field(default_factory=dict)

    def of(self, digest: str) -> list[str]:
        """Return the names of an image's kernel."""
        return sorted(name for name, its in self.kernels.items() if its == digest)


class BootstrapImages:
    """The images of an instance."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def list(self) -> list[Bootstrap]:
        """Return those that can be booted, the newest first."""
        try:
            paths = sorted(
                self._directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True
            )
        except FileNotFoundError:
            return []
        found = []
        for path in paths:
            try:
                found.append(self.get(path.name))
            except NotFound:
                continue
        return found

    def names(self) -> Names:
        """Return what kernels are called. A record that can't be read names none."""
        try:
            with os.fdopen(open_bootstrap(self._directory, NAMES), "rb") as file:
                fields = json.loads(file.read(LARGEST_MANIFEST))
            digests = {str(name): str(k["digest"]) for name, k in fields["kernels"].items()}
            return Names(str(fields["default"]), digests)
        except (NotFound, ValueError, KeyError, TypeError, AttributeError):
            return Names()

    def get(self, digest: str) -> Bootstrap:
        """Read an image's manifest. Raises NotFound (BOOTSTRAP_NOT_FOUND)."""
        directory = self._directory / digest
        descriptor = open_bootstrap(directory, "manifest.json")
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(LARGEST_MANIFEST)
        for name in ("vmlinuz", "initrd.img"):
            os.close(open_bootstrap(directory, name))
        try:
            fields = json.loads(content)
            arguments = fields["kernel_arguments"]
            if len(arguments) > LONGEST_ARGUMENTS or not arguments.isprintable():
                raise ValueError("kernel_arguments")
            return Bootstrap(digest, str(fields["kernel"]), arguments)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotFound(
                f"the bootstrap image {digest} can't be used: its manifest is damaged ({error})",
                Reason.BOOTSTRAP_NOT_FOUND,
                digest=digest,
            ) from error

    def open_kernel(self, digest: str) -> int:
        """Open an image's kernel. Raises NotFound (BOOTSTRAP_NOT_FOUND)."""
        return open_bootstrap(self._directory / digest, "vmlinuz")

    def open_initrd(self, digest: str) -> int:
        """Open an image's initial RAM file system. Raises NotFound (BOOTSTRAP_NOT_FOUND)."""
        return open_bootstrap(self._directory / digest, "initrd.img")
