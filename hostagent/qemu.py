"""The QEMU of this host: which one it is, and whose CPU it runs on."""

import asyncio
import functools
import hashlib
import re
import subprocess
from pathlib import Path

from portlayer.errors import FailedPrecondition, Reason

_VERSION = re.compile(r"QEMU emulator version (.+)")


class Qemu:
    """A QEMU program, which may be replaced by an upgrade while the agent runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._version = ""
        self.program = (0, 0)
        """Device and inode of the program whose version was asked for last."""

    async def version(self) -> str:
        """Return the version as QEMU prints it. Raises FailedPrecondition where it can't run."""
        try:
            status = self.path.stat()
            self.program = (status.st_dev, status.st_ino)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._version = await asyncio.to_thread(_ask_version, self.path)
                self._seen = seen
        except (OSError, subprocess.SubprocessError) as error:
            raise FailedPrecondition(
                f"QEMU can't be run: {error}", Reason.HYPERVISOR_FAILED, path=str(self.path)
            ) from error
        return self._version


@functools.cache
def host_cpu() -> str:
    """Return a digest of what the host's CPU is and can do."""
    first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    kept = [line for line in first.splitlines() if "MHz" not in line and "bogomips" not in line]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def _ask_version(path: Path) -> str:
    command = [str(path), "--version"]
    output = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30).stdout
    found = _VERSION.search(output)
    return found.group(1).strip() if found else output.strip()[:200]
