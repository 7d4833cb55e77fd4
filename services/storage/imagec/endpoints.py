"""Which URLs stand for the registry that a reference names."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from portlayer.web.addresses import web_address
from services.storage.imagec.errors import RegistryNotAllowed
from services.storage.imagec.reference import DEFAULT_DOMAIN

_ALLOWED = re.compile(r"(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")
_DOCKER_HUB = "registry-1.docker.io"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)


@dataclass(frozen=True)
class Endpoint:
    """A registry's base URL, without "/v2/"."""

    scheme: str
    host: str
    """Host with port, as in the reference."""

    verify: bool = True
    """Whether its certificate must be valid."""

    mirror: bool = False
    """Whether it stands in for docker.io: no credentials are sent to it."""

    @property
    def url(self) -> str:
        """ "https://registry.example:5000"."""
        return f"{self.scheme}://{self.host}"

    @property
    def insecure(self) -> bool:
        """Whether plain HTTP is allowed on the way to it."""
        return not self.verify


class AllowList:
    """The only registries that may be used."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Raises ValueError for an entry that is neither a host, nor a pattern, nor a network."""
        self.networks: list[Network] = []
        self._hosts: list[str] = []
        for entry in entries:
            if "/" in entry:
                self.networks.append(ipaddress.ip_network(entry, strict=False))
            elif _ALLOWED.fullmatch(entry):
                self._hosts.append(entry.lower())
            else:
                raise ValueError(f"allowed registry {entry!r} is not valid")

    def has(self, domain: str, host: str, addresses: Sequence[Address]) -> bool:
        """Whether a registry is in it; all of its addresses must be in networks of the list."""
        names = {domain.lower(), host.lower()}
        if any(_fits(name, entry) for name in names for entry in self._hosts):
            return True
        return bool(addresses) and all(
            any(a.version == n.version and a in n for n in self.networks) for a in addresses
        )


def _fits(name: str, entry: str) -> bool:
    """Whether a name is an entry's, whose "*." stands for one label or more."""
    if entry.startswith("*."):
        return name.endswith(entry[1:]) and len(name) > len(entry) - 1
    return name == entry


class Endpoints:
    """Chooses endpoints by the administrator's settings, as dockerd does.

    A registry on loopback, or in `insecure` ("host", "host:port" or a network in CIDR form), is
    tried by HTTPS without checking its certificate, then by HTTP. `mirrors` are base URLs that
    are tried before docker.io. Where `allowed` has entries ("host", "host:port", "*.domain" or a
    network), no other registry may be used.
    """

    def __init__(
        self,
        insecure: Sequence[str] = (),
        mirrors: Sequence[str] = (),
        allowed: Sequence[str] = (),
    ) -> None:
        """Raises ValueError when an entry is neither a host nor a network, or a mirror no URL."""
        self._allowed = AllowList(allowed) if allowed else None
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in insecure:
            if "/" in entry:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            elif entry and "@" not in entry:
                self._hosts.add(entry.lower())
            else:
                raise ValueError(f"insecure registry {entry!r} is not valid")
        self._mirrors = [self._mirror(url) for url in mirrors]

    @staticmethod
    def _mirror(url: str) -> Endpoint:
        parts = web_address(url)
        if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"registry mirror {url!r} is not of the form http(s)://host[:port]")
        return Endpoint(parts.scheme, parts.netloc, verify=parts.scheme == "https", mirror=True)

    async def of(self, domain: str) -> list[Endpoint]:
        """Endpoints of a reference's domain in the order to try them.

        Raises:
            RegistryNotAllowed: by the administrator's list.
        """
        host = urlsplit(f"//{domain}").hostname or ""
        if self._allowed is not None and not self._allowed.has(
            domain, host, await self._addresses(host, self._allowed.networks)
        ):
            raise RegistryNotAllowed(
                f"access to registry {domain} is denied: it is not in the list of allowed ones"
            )
        if domain == DEFAULT_DOMAIN:
            return [*self._mirrors, Endpoint("https", _DOCKER_HUB)]
        if await self.is_insecure(domain):
            return [Endpoint("https", domain, False), Endpoint("http", domain, False)]
        return [Endpoint("https", domain)]

    async def is_insecure(self, domain: str) -> bool:
        """Whether plain HTTP may be used with a registry."""
        host = urlsplit(f"//{domain}").hostname or ""
        if host == "localhost" or domain.lower() in self._hosts or host in self._hosts:
            return True
        return any(
            address in network
            for address in await self._addresses(host, self._networks)
            for network in (*LOOPBACK, *self._networks)
            if address.version == network.version
        )

    async def _addresses(self, host: str, networks: Sequence[Network]) -> list[Address]:
        """A host's addresses, looked up only where there are networks to compare them with."""
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            if not networks:
                return []
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
        except socket.gaierror:
            return []  # the request itself will say so
        return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
