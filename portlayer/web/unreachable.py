"""Why a server couldn't be asked, in the words Docker users know: those of Go's net/http."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import urlsplit

import aiohttp

from portlayer.web.addresses import port_of
from portlayer.web.errors import AddressRefused, HostNotFound, NotTls, ServerUnavailable
from portlayer.web.guarding import Refused

_PLAIN_HTTP = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
"""OpenSSL's reasons when the other side doesn't speak TLS."""


class explained:  # noqa: N801 - a context manager used like a function
    """Turns the HTTP client's errors into ours."""

    def __init__(self, method: str, url: str) -> None:
        parts = urlsplit(url)
        # A signed URL's query is a secret.
        shown = parts._replace(query="", fragment="").geturl()
        self._prefix = f'{method.capitalize()} "{shown}": '
        self._host = parts.hostname or ""
        self._dial = f"dial tcp {self._host}:{port_of(parts)}: "

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise ours in place of the client's."""
        if isinstance(error, Refused):
            raise self._refusal(error) from error
        if isinstance(error, aiohttp.ClientError):
            raise self._explain(error) from error

    def _refusal(self, refused: Refused) -> AddressRefused:
        return AddressRefused(f"{self._prefix}{self._dial}{refused.why}")

    def _explain(self, error: aiohttp.ClientError) -> ServerUnavailable | AddressRefused:
        cause = _cause(error)
        if isinstance(cause, Refused):
            return self._refusal(cause)
        if isinstance(cause, socket.gaierror):
            return HostNotFound(f"{self._prefix}dial tcp: lookup {self._host}: no such host")
        if isinstance(cause, ssl.SSLError) and cause.reason in _PLAIN_HTTP:
            return NotTls(f"{self._prefix}http: server gave HTTP response to HTTPS client")
        return ServerUnavailable(self._prefix + self._words(error, cause))

    def _words(self, error: aiohttp.ClientError, cause: BaseException) -> str:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"tls: failed to verify certificate: x509: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"tls: {cause.reason or 'handshake failed'}"
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"{self._dial}i/o timeout"
        if isinstance(error, aiohttp.ServerTimeoutError):
            return "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"{self._dial}connect: {_system_word(cause) or 'cannot connect'}"
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return f"proxyconnect tcp: {error.status} {error.message}"
        if isinstance(error, aiohttp.ClientResponseError):
            return "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
        if isinstance(error, aiohttp.InvalidURL):
            return "invalid URL"
        return _system_word(cause) or "unexpected EOF"


def _system_word(cause: BaseException) -> str:
    """What the system calls an error: "connection refused"."""
    number = cause.errno if isinstance(cause, OSError) else None
    return os.strerror(number).lower() if number else ""


def _cause(error: BaseException) -> BaseException:
    """The deepest telling cause: libraries wrap what the system said."""
    seen = error
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and not isinstance(current, TimeoutError):
            seen = current
        current = current.__cause__ or current.__context__
    return seen
