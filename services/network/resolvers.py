"""Which name servers containers ask: the host's, as far as a container can reach them.

Source: resolv.conf(5); the choice is Docker's for its default bridge
(https://docs.docker.com/engine/network/#dns-services).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")

SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
"""The servers behind systemd-resolved, whose own address 127.0.0.53 only the host can reach."""

PUBLIC_SERVERS = ("8.8.8.8", "8.8.4.4")
"""What Docker falls back to, and so do we: a container with no resolver at all helps nobody."""


@dataclass(frozen=True)
class Resolvers:
    """Contents of a resolv.conf."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def behind(self, server: IPv4Address) -> "Resolvers":
        """Return what a container needs that asks a network's own name server for all.

        Names of containers have no dots, and are to be asked for as they are before any search
        domain is tried: that is `ndots:0`, as Docker has it.
        """
        options = (option for option in self.options if not option.startswith("ndots:"))
        return Resolvers((str(server),), self.search, (*options, "ndots:0"))

    def by(self, servers: Iterable[IPv4Address | IPv6Address]) -> "Resolvers":
        """Return the same with other servers."""
        return Resolvers(tuple(map(str, servers)), self.search, self.options)


# Asked for each container and each question of one, while the files hardly ever change.
@lru_cache(maxsize=4)
def parse(text: str) -> Resolvers:
    """Read a resolv.conf. Of several `search` or `domain` lines the last one counts."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = tuple(domain for domain in domains if domain != ".")
            case ["options", *found]:
                options += found
    return Resolvers(tuple(servers), search, tuple(options))


def for_containers(
    resolv_conf: Path = RESOLV_CONF, behind_systemd: Path = SYSTEMD_RESOLV_CONF
) -> Resolvers:
    """Return what a container's resolv.conf should hold.

    Servers on loopback addresses and of IPv6 are left out, since container networks reach neither.
    Where nothing is left, systemd-resolved's own servers are taken, else public ones.
    """
    host = parse(_read(resolv_conf))
    servers = _reachable(host) or _reachable(parse(_read(behind_systemd))) or PUBLIC_SERVERS
    return Resolvers(servers, host.search, host.options)


def of_host(
    configured: Sequence[str],
    forbidden: Iterable[IPv4Network],
    resolv_conf: Path = RESOLV_CONF,
) -> list[IPv4Address | IPv6Address]:
    """Return the servers that the name servers of our networks ask: the host's own.

    From the host those on loopback are reachable, too. Those in a forbidden network, ours that is,
    would make us ask ourselves, or send packets to where none of a container's must come.
    """
    servers = configured or parse(_read(resolv_conf)).servers
    own = list(forbidden)
    found = []
    for server in servers:
        try:
            address = ip_address(server)
        except ValueError:
            continue
        if isinstance(address, IPv4Address) and any(address in network for network in own):
            continue
        if not address.is_unspecified:
            found.append(address)
    return found or [IPv4Address(server) for server in PUBLIC_SERVERS]


@lru_cache(maxsize=4)
def _reachable(resolvers: Resolvers) -> tuple[str, ...]:
    """Return the servers that containers can reach."""
    return tuple(server for server in resolvers.servers if _is_reachable(server))


def _is_reachable(server: str) -> bool:
    try:
        address = ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return isinstance(address, IPv4Address) and not (address.is_loopback or address.is_unspecified)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
