"""Which URLs stand for the registry that a reference names."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.storage.imagec.reference import DEFAULT_DOMAIN
from services.storage.imagec.transport import web_address

_DOCKER_HUB = "registry-1.docker.io"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

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


class Endpoints:
    """Chooses endpoints by the administrator's settings, as dockerd does.

    A registry on loopback, or in `insecure` ("host", "host:port" or a network in CIDR form), is
    tried by HTTPS without checking its certificate, then by HTTP. `mirrors` are base URLs that
    are tried before docker.io.
    """

    def __init__(self, insecure: Sequence[str] = (), mirrors: Sequence[str] = ()) -> None:
        """Raises ValueError when an entry is neither a host nor a network, or a mirror no URL."""
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
        """Endpoints of a reference's domain in the order to try them."""
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
            for address in await self._addresses(host)
            for network in (*LOOPBACK, *self._networks)
            if address.version == network.version
        )

    async def _addresses(self, host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            if not self._networks:
                return []
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
        except socket.gaierror:
            return []  # the request itself will say so
        return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
