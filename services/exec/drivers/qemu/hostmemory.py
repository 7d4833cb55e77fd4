"""How many ready clones the host's memory holds."""

from pathlib import Path

from portlayer.errors import InvalidArgument, Reason

MIB = 1024 * 1024
# What is left to the host.
LEAST_MEMORY_BYTES = 512 * MIB
LEAST_MEMORY_SHARE = 0.1
# What a ready clone takes of its own; measured: 110 to 125 MiB with QEMU's translated code.
READY_CLONE_BYTES = 128 * MIB
# What a template takes, once for all of its forks; measured: 185 MB.
TEMPLATE_BYTES = 192 * MIB
# Those of other classes than the default one, at most; they take a sixteenth of the memory at most.
MOST_TEMPLATES = 4
# One more is made where that leaves a margin: what making it takes must not be why it has to go.
MARGIN_BYTES = 256 * MIB
# Without being told, ready clones take a sixteenth of the memory at most: two from 4 GiB on, one
# from 2 GiB on. More of them shorten bursts alone, and each costs the CPU a warm-up.
AUTOMATIC_SHARE = 16
MOST_AUTOMATIC = 2


class HostMemory:
    """The host's memory by proc(5), /proc/meminfo."""

    def __init__(self, meminfo: Path = Path("/proc/meminfo")) -> None:
        self._meminfo = meminfo

    def spare(self) -> int:
        """Return the bytes that are available above what is left to the host."""
        total, available = self._read()
        return available - _least(total)

    def automatic(self) -> int:
        """Return the number of ready clones that suits this host."""
        total, _ = self._read()
        return min(MOST_AUTOMATIC, total // AUTOMATIC_SHARE // READY_CLONE_BYTES)

    def most_templates(self) -> int:
        """Return the number of templates of other classes that suits this host."""
        total, _ = self._read()
        return min(MOST_TEMPLATES, total // AUTOMATIC_SHARE // TEMPLATE_BYTES)

    def check(self, count: int) -> None:
        """Return when the memory holds so many. Raises InvalidArgument with the figures."""
        total, _ = self._read()
        room = max(0, total - _least(total))
        if count * READY_CLONE_BYTES > room:
            raise InvalidArgument(
                f"{count} ready clones take {count * READY_CLONE_BYTES // MIB} MiB: the host has "
                f"{total // MIB} MiB, {_least(total) // MIB} MiB of them for itself; "
                f"{room // READY_CLONE_BYTES} at most",
                Reason.INVALID_REQUEST,
            )

    def _read(self) -> tuple[int, int]:
        """Return total and available bytes."""
        sizes = {
            name: int(rest.split()[0]) << 10
            for name, _, rest in (
                line.partition(":") for line in self._meminfo.read_text().splitlines()
            )
            if name in ("MemTotal", "MemAvailable")
        }
        return sizes["MemTotal"], sizes["MemAvailable"]


def _least(total: int) -> int:
    return max(LEAST_MEMORY_BYTES, int(total * LEAST_MEMORY_SHARE))
