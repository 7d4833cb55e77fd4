"""Keeping web pages out of the API.

A browser on the machine can be made to send requests to a loopback port: by a foreign page (CSRF),
or by a page whose name was made to point at 127.0.0.1 (DNS rebinding). Docker's clients send
neither an Origin nor a foreign name. A Unix socket is out of a browser's reach; its Host header is
whatever the client made up, so it isn't looked at there.
"""

import ipaddress
from collections.abc import Iterable

from starlette.types import Scope

from gateway.errors import ApiError

_SAME_SITE = (b"same-origin", b"none")


class OriginPolicy:
    """Which Host and Origin headers are taken.

    ``names`` are host names, besides IP addresses and localhost, under which clients reach the
    endpoint, "*.example" among them as in certificates; ``origins`` are web origins that may call
    it ("https://admin.example").
    """

    def __init__(self, names: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._names = frozenset(["localhost", *(name.lower() for name in names)])
        self._origins = frozenset(origin.encode() for origin in origins)

    def check(self, scope: Scope) -> None:
        """Raise a 403 for a request that a foreign web page has caused."""
        over_tcp = scope.get("client") is not None
        # Clients of WebSockets send the endpoint itself, which serves no page.
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        own = {scheme + host for host in hosts for scheme in (b"http://", b"https://")}
        for name, value in scope["headers"]:
            if name == b"host" and over_tcp:
                self._check_host(value)
            elif name == b"origin" and value not in self._origins | own:
                raise ApiError(403, f"requests from web origin {_printable(value)} are refused")
            elif name == b"sec-fetch-site" and value not in _SAME_SITE:
                raise ApiError(403, "requests from other web sites are refused")

    def _check_host(self, value: bytes) -> None:
        host = _printable(value)
        name = host.rpartition(":")[0] if _has_port(host) else host
        name = name.removeprefix("[").removesuffix("]").lower()
        if name in self._names or f"*.{name.partition('.')[2]}" in self._names:
            return
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise ApiError(403, f"requests for host {host} are refused") from None


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and (not host.count(":") > 1 or "]:" in host)


def _printable(value: bytes) -> str:
    return value.decode("ascii", "replace")[:200]
