"""How builds reach the web."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.build.output import Output
from portlayer.web.proxies import Proxies

if TYPE_CHECKING:
    from gateway.build.fetching import Fetcher


@dataclass(frozen=True)
class Web:
    """What the administrator has said of the way, and what of it is the instance's own."""

    proxies: Proxies = field(default_factory=Proxies)
    management: IPv4Network | None = None
    """The network of its containers' VMs."""

    def fetcher(self, output: Output, spool: Path | None) -> "Fetcher":
        """What fetches for one build. To be called in a thread.

        The first one loads an HTTP client, which few gateways ever need.
        """
        from gateway.build.fetching import Fetcher

        return Fetcher(self, output, spool)
