"""How builds reach the web."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.build.output import Output
from portlayer.web.proxies import Proxies

if TYPE_CHECKING:
    from gateway.build.fetching import Fetcher


@dataclass(frozen=True)
class Web:
    """What the administrator has said of the way."""

    proxies: Proxies = field(default_factory=Proxies)

    def fetcher(self, output: Output, spool: Path | None) -> "Fetcher":
        """What fetches for one build. To be called in a thread.

        The first one loads an HTTP client, which few gateways ever need.
        """
        from gateway.build.fetching import Fetcher

        return Fetcher(self, output, spool)
