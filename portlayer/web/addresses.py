"""Web addresses: which are ones, where they lead, how they are sent."""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urlsplit

from yarl import URL

_DEFAULT_PORT = {"http": 80, "https": 443}
_SAFE = "%/:?#[]@!$&'()*+,;=~"
"""What may stand in a URL beside letters and digits (RFC 3986)."""

Origin = tuple[str, str, int | None]


def web_address(url: str) -> SplitResult | None:
    """Take apart an absolute HTTP URL; None for anything else, or with credentials in it."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _DEFAULT_PORT and parts.hostname and (parts.port or 1)
    except ValueError:
        return None
    return parts if valid and parts.username is None else None


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), port_of(parts)


def port_of(parts: SplitResult) -> int | None:
    """The port that a URL leads to."""
    return parts.port or _DEFAULT_PORT.get(parts.scheme)


def as_sent(url: str) -> URL:
    """A URL as the HTTP client sends it, without fragment and credentials.

    What is quoted stays as it is, since a signature may cover it; what can't be sent is quoted.
    Raises ValueError for a host that can't be one.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    origin = URL.build(scheme=parts.scheme, host=host, port=parts.port)
    path, query = (
        quote(part, safe=_SAFE, errors="surrogateescape") for part in (parts.path, parts.query)
    )
    return URL(f"{origin}".rstrip("/") + (path or "/") + (query and f"?{query}"), encoded=True)
