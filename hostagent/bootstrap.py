"""Kernels and bootstrap images that machines boot: DATA/bootstrap/DIGEST/{vmlinuz,initrd.img}."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from hostagent.files import open_bootstrap
from portlayer.errors import NotFound, Reason

LARGEST_MANIFEST = 1 << 20
LONGEST_ARGUMENTS = 2048  # COMMAND_LINE_SIZE of x86 Linux


@dataclass(frozen=True)
class Bootstrap:
    """A usable image, by what its manifest says."""

    digest: str
    kernel_release: str
    kernel_arguments: str


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
