"""Subnets: Docker's default pools, and which of them are free."""

import asyncio
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TypeVar, overload

from portlayer.errors import InvalidArgument, Reason, ResourceExhausted

log = logging.getLogger("vic.network.pools")

DEFAULT_POOLS: tuple[tuple[IPv4Network, int], ...] = (
    *((IPv4Network(f"172.{second}.0.0/16"), 16) for second in range(17, 32)),
    (IPv4Network("192.168.0.0/16"), 20),
)
"""Ranges and the size of the subnets cut from them.

Source: https://docs.docker.com/engine/network/#default-address-pools
"""

# Prefixes shorter than this are default routes by another name (OpenVPN's 0.0.0.0/1): they lead
# to the outside, and a more specific route of ours beside them harms nobody.
SHORTEST_PREFIX = 4

LOCK_SECONDS = 10.0

N = TypeVar("N", IPv4Network, IPv6Network)

MACHINE_ID = Path("/etc/machine-id")
UNIQUE_LOCAL = IPv6Network("fd00::/8")
PREFIX_LENGTH6 = 64
"""Of the subnets that are chosen here, as is usual for a link (RFC 4291, 2.5.4)."""


def conflicts(subnet: N, taken: Iterable[N]) -> list[N]:
    """Return those of the taken subnets that a subnet overlaps."""
    return [
        other for other in taken if other.prefixlen >= SHORTEST_PREFIX and subnet.overlaps(other)
    ]


def check(subnet: N, taken: Iterable[N]) -> None:
    """Raise InvalidArgument (POOL_OVERLAPS) where a subnet overlaps one that is taken."""
    overlapping = conflicts(subnet, taken)
    if overlapping:
        raise InvalidArgument(
            "invalid pool request: Pool overlaps with other one on this address space",
            Reason.POOL_OVERLAPS,
            subnet=str(subnet),
            other=str(overlapping[0]),
        )


@overload
def usual_gateway(subnet: IPv4Network, within: IPv4Network | None) -> IPv4Address: ...


@overload
def usual_gateway(subnet: IPv6Network, within: IPv6Network | None) -> IPv6Address: ...


def usual_gateway(
    subnet: IPv4Network | IPv6Network, within: IPv4Network | IPv6Network | None
) -> IPv4Address | IPv6Address:
    """Return Docker's choice of a gateway: the first address of the range that hosts may have."""
    first = (within or subnet).network_address
    return first + 1 if first == subnet.network_address else first


def choose(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the first of the default subnets that overlaps nothing taken.

    Raises ResourceExhausted (POOLS_EXHAUSTED).
    """
    known = list(taken)
    for subnet in _candidates():
        if not conflicts(subnet, known):
            return subnet
    raise ResourceExhausted(
        "all predefined address pools have been fully subnetted", Reason.POOLS_EXHAUSTED
    )


def own_prefix(instance_id: str, machine_id: Path = MACHINE_ID) -> IPv6Network:
    """Return the /48 from which an instance's networks have their IPv6 subnets.

    It is a unique local one (RFC 4193), with 40 bits that follow from machine and instance: they
    are the same after every restart, and as good as certainly nobody else's. Docker does likewise.
    """
    try:
        machine = machine_id.read_text().strip()
    except OSError:
        machine = ""
    number = hashlib.sha256(f"vic {machine} {instance_id}".encode()).digest()[:5]
    return IPv6Network((UNIQUE_LOCAL.network_address.packed[:1] + number + bytes(10), 48))


def choose6(prefix: IPv6Network, taken: Iterable[IPv6Network]) -> IPv6Network:
    """Return the first subnet of an instance's own that overlaps nothing taken.

    Raises ResourceExhausted (POOLS_EXHAUSTED).
    """
    known = list(taken)
    for subnet in prefix.subnets(new_prefix=PREFIX_LENGTH6):
        if not conflicts(subnet, known):
            return subnet
    raise ResourceExhausted(
        "all predefined address pools have been fully subnetted", Reason.POOLS_EXHAUSTED
    )


def _candidates() -> Iterator[IPv4Network]:
    for pool, size in DEFAULT_POOLS:
        yield from pool.subnets(new_prefix=size)


@asynccontextmanager
async def machine_lock(directory: Path, seconds: float = LOCK_SECONDS) -> AsyncIterator[bool]:
    """Keep other instances from choosing a subnet meanwhile; yields whether the lock was had.

    The lock is an exclusive flock(2) on a directory that all instances can read, so nothing has to
    be created for it. Any local user could hold it: after `seconds` the work goes on without, for
    what is lost then is only the protection against two instances that choose at the same moment.
    """
    descriptor = await _acquire(directory, seconds)
    if descriptor is None:
        log.warning("choosing a subnet without the machine-wide lock", extra={"lock": directory})
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


async def _acquire(directory: Path, seconds: float) -> int | None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    attempt = _Attempt(descriptor, asyncio.get_running_loop())
    # flock(2) has no time-out, and a thread of a pool that waits for ever would hold up our end.
    threading.Thread(target=attempt.wait, name="machine-lock", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await attempt.locked.wait()
    except TimeoutError:
        attempt.abandon()
        return None
    except BaseException:
        attempt.abandon()
        raise
    return descriptor


class _Attempt:
    """A thread's wait for the lock, which its asker may give up."""

    def __init__(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self.locked = asyncio.Event()
        self._descriptor = descriptor
        self._loop = loop
        self._guard = threading.Lock()
        self._had = False
        self._abandoned = False

    def wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._guard:
            if self._abandoned:
                os.close(self._descriptor)
                return
            self._had = True
            self._loop.call_soon_threadsafe(self.locked.set)

    def abandon(self) -> None:
        with self._guard:
            self._abandoned = True
            if self._had:
                os.close(self._descriptor)
