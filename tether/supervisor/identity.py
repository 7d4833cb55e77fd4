"""Makes a clone its own machine: random state, clock, machine ID, management address."""

from __future__ import annotations

import fcntl
import os
import struct
import time

from tether.guestconfig import Management
from tether.supervisor.netlink import Link, NetworkNamespace
from tether.supervisor.syscalls import RNDADDENTROPY, RNDRESEEDCRNG

_POOL_INFO = struct.Struct("=ii")


def reseed(entropy: bytes) -> None:
    """Feed the kernel's random generator and make it use the feed at once.

    A clone wakes with its parent's generator, byte for byte: until this was done, all clones draw
    the same numbers. See random(4) and ``drivers/char/random.c``.
    """
    descriptor = os.open("/dev/urandom", os.O_RDWR | os.O_CLOEXEC)
    try:
        # Linux wants the pool as whole 32-bit words and the entropy counted in bits.
        data = entropy[: len(entropy) // 4 * 4]
        request = _POOL_INFO.pack(len(data) * 8, len(data)) + data
        fcntl.ioctl(descriptor, RNDADDENTROPY, request)
        fcntl.ioctl(descriptor, RNDRESEEDCRNG)
    finally:
        os.close(descriptor)


def set_clock(time_ns: int) -> None:
    """Step the clock to the host's."""
    time.clock_settime_ns(time.CLOCK_REALTIME, time_ns)


def configure_management(namespace: NetworkNamespace, link: Link, management: Management) -> None:
    """Give the management interface its own MAC and address, and only then let it send."""
    namespace.set_link(link.index, mac=management.mac, up=True)
    namespace.add_address(link.index, management.address)
    namespace.commit()
