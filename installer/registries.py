"""What `vic up` is told about the way to registries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installer.errors import UsageError


@dataclass(frozen=True)
class RegistryWishes:
    """Options of the command line; None leaves what was remembered, an empty one takes it away."""

    allowed: tuple[str, ...] | None = None
    authorities: tuple[str, ...] | None = None
    """Files of certificates in PEM form."""

    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] | None = None

    def options(self) -> dict[str, Any]:
        """The options by their names in the record. Raises UsageError."""
        from portlayer.web.proxies import Proxies
        from portlayer.web.transport import Transport
        from services.storage.imagec.endpoints import AllowList

        allowed, no_proxy = _some(self.allowed), _some(self.no_proxy)
        files = _some(self.authorities)
        authorities = None if files is None else tuple(_read(file) for file in files)
        try:
            AllowList(allowed or ())
            proxies = Proxies(self.http_proxy or "", self.https_proxy or "", no_proxy or ())
            Transport(authorities or (), proxies)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return {
            "allowed_registries": allowed,
            "registry_authorities": authorities,
            "http_proxy": self.http_proxy,
            "https_proxy": self.https_proxy,
            "no_proxy": no_proxy,
        }


def _some(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(value for value in values if value)


def _read(file: str) -> str:
    try:
        text = Path(file).read_text()
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read the certificate {file}: {error}") from error
    if "PRIVATE KEY" in text:  # the record is readable by all
        raise UsageError(f"{file} has a private key in it; give the certificate alone")
    return text
