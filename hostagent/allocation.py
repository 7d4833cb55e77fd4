"""What a virtual container host is to have of this host's CPUs and memory where others want them.

As vSphere has it for a resource pool: what is *reserved* is its own whatever others do; what nobody
has reserved is divided by *shares*. All hosts on a machine, and what else runs there, are one pool.
Source: vSphere Resource Management, Resource Allocation Settings.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass

from hostagent.machine import HIGHEST_WEIGHT
from portlayer.errors import InvalidArgument, Reason

MIB = 1 << 20
DEFAULT_SHARES = 100
MOST_SHARES = 10_000


@dataclass(frozen=True)
class Allocation:
    """What one virtual container host was given. Zero is nothing reserved, and default shares."""

    cpu_millis: int = 0
    """Thousandths of a CPU."""
    memory_bytes: int = 0
    cpu_shares: int = 0
    """Relative to 100, as ``memory_shares``."""
    memory_shares: int = 0

    def fields(self) -> dict[str, int]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Capacity:
    """What can be reserved on this host in all."""

    cpus: int
    memory_bytes: int


def check(wanted: Allocation, others: Collection[Allocation], capacity: Capacity) -> None:
    """Return when a host can have this beside others. Raises InvalidArgument with the figures."""
    memory = sum(other.memory_bytes for other in others)
    if memory + wanted.memory_bytes > capacity.memory_bytes and wanted.memory_bytes:
        raise _invalid(
            f"{wanted.memory_bytes // MIB} MiB of memory can't be reserved: virtual machines may "
            f"have {capacity.memory_bytes // MIB} MiB on this machine, and other virtual container "
            f"hosts have reserved {memory // MIB} MiB"
        )
    millis = sum(other.cpu_millis for other in others)
    if millis + wanted.cpu_millis > capacity.cpus * 1000 and wanted.cpu_millis:
        raise _invalid(
            f"{wanted.cpu_millis / 1000:g} CPUs can't be reserved: this machine has "
            f"{capacity.cpus}, and other virtual container hosts have reserved {millis / 1000:g}"
        )
    for what, shares in (("CPU", wanted.cpu_shares), ("memory", wanted.memory_shares)):
        if shares > MOST_SHARES:
            raise _invalid(f"the {what} shares must be between 1 and {MOST_SHARES}")


def cpu_weight(
    own: Allocation, others: Collection[Allocation], strangers: int, capacity: Capacity
) -> int:
    """Return the weight, relative to 100, that gives a host its reservation and its shares.

    ``strangers`` is the weight of all else on the machine. Of N CPUs, R of them reserved in all and
    S the sum of all shares, it is due r + (N - R) * s / S when everybody wants all they can get.
    The kernel knows weights alone: strangers' stay as they are, so ours is s + r * S / (N - R).
    """
    total = capacity.cpus * 1000
    reserved = own.cpu_millis + sum(other.cpu_millis for other in others)
    shares = _cpu_shares(own)
    all_shares = shares + strangers + sum(_cpu_shares(other) for other in others)
    free = max(total - reserved, 0)
    if own.cpu_millis:
        # Where all is reserved, what others are left with is the least that there is.
        shares += own.cpu_millis * all_shares // free if free else HIGHEST_WEIGHT
    return max(1, min(shares, HIGHEST_WEIGHT))


def protected_memory(
    own: Allocation, others: Collection[Allocation], capacity: Capacity
) -> int | None:
    """Return how much memory is taken from a host only after that of others; None for none.

    Its reservation, and its share of what nobody has reserved. Others count with their shares, the
    host's own processes as one with the default ones. One that was given no shares claims nothing.
    """
    if not own.memory_shares:
        return None
    reserved = own.memory_bytes + sum(other.memory_bytes for other in others)
    shares = sum(other.memory_shares or DEFAULT_SHARES for other in others)
    free = max(capacity.memory_bytes - reserved, 0)
    all_shares = own.memory_shares + shares + DEFAULT_SHARES
    return own.memory_bytes + free * own.memory_shares // all_shares


def _cpu_shares(allocation: Allocation) -> int:
    return allocation.cpu_shares or DEFAULT_SHARES


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_REQUEST)
