"""Networks of Linux: bridges, taps, nftables. Needs CAP_NET_ADMIN and nothing else."""

from services.network.drivers.linux.driver import LinuxDriver
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards

__all__ = ["Guards", "LinuxDriver", "Names"]
