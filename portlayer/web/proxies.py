"""HTTP proxies, and what isn't asked through them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from portlayer.web.addresses import web_address

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EXCEPTION = re.compile(r"\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")


@dataclass(frozen=True)
class Proxies:
    """HTTP proxies by what is asked through them; loopback never is."""

    http: str = ""
    https: str = ""
    exceptions: Sequence[str] = ()
    """Hosts to ask directly: "host", or ".domain" for all below it."""

    def __post_init__(self) -> None:
        """Raises ValueError for what isn't an address, or an exception that isn't a host."""
        for url in filter(None, (self.http, self.https)):
            if web_address(url) is None:
                raise ValueError(f"proxy {url!r} is not of the form http(s)://host[:port]")
        for host in self.exceptions:
            if not _EXCEPTION.fullmatch(host):
                raise ValueError(f"host without a proxy {host!r} is not valid")

    def of(self, url: str) -> str | None:
        """The proxy for a URL; None: it is asked directly."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().removesuffix(".")
        if host in _LOOPBACK or any(_excepts(entry.lower(), host) for entry in self.exceptions):
            return None
        return (self.https if parts.scheme == "https" else self.http) or None


def _excepts(entry: str, host: str) -> bool:
    return host.endswith(entry) if entry.startswith(".") else host == entry
