"""HTTP to registries: limits, redirects by hand, and errors in the words Docker users know."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from services.storage.imagec.errors import HostNotFound, RegistryMisbehaves, RegistryUnavailable

MAX_REDIRECTS = 5
READ_TIMEOUT = 30.0
"""Seconds without a byte until a connection counts as broken."""

_TIMEOUT = httpx.Timeout(connect=15.0, read=READ_TIMEOUT, write=30.0, pool=None)
_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_EXCEPTION = re.compile(r"\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_DEFAULT_PORT = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]


class NotTls(RegistryUnavailable):
    """An HTTPS request was answered in plain HTTP."""


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
    return parts.scheme, (parts.hostname or "").lower(), _port(parts)


def _port(parts: SplitResult) -> int | None:
    return parts.port or _DEFAULT_PORT.get(parts.scheme)


@dataclass(frozen=True)
class Proxies:
    """HTTP proxies by what is asked through them; loopback never is."""

    http: str = ""
    https: str = ""
    exceptions: Sequence[str] = ()
    """Hosts to ask directly: "host", or ".domain" with all below it."""

    def __post_init__(self) -> None:
        """Raises ValueError for what isn't an address, or an exception that isn't a host."""
        for url in filter(None, (self.http, self.https)):
            if web_address(url) is None:
                raise ValueError(f"proxy {url!r} is not of the form http(s)://host[:port]")
        for host in self.exceptions:
            if not _EXCEPTION.fullmatch(host):
                raise ValueError(f"host without a proxy {host!r} is not valid")

    def mounts(self, context: ssl.SSLContext) -> dict[str, httpx.AsyncBaseTransport | None]:
        """What httpx asks through what; None is directly."""
        found: dict[str, httpx.AsyncBaseTransport | None] = {
            f"{scheme}://": httpx.AsyncHTTPTransport(verify=context, proxy=url, limits=_LIMITS)
            for scheme, url in (("http", self.http), ("https", self.https))
            if url
        }
        if found:
            for host in (*_LOOPBACK, *self.exceptions):
                found[f"all://{'*' if host.startswith('.') else ''}{host}"] = None
        return found


class Transport:
    """Two HTTP clients, one of which doesn't check certificates.

    Neither follows redirects, keeps cookies, reads proxies from the environment, nor asks for
    compression: what is hashed must be what was sent.
    """

    def __init__(self, authorities: Sequence[str] = (), proxies: Proxies | None = None) -> None:
        """`authorities` are certificates in PEM form that are trusted beside the system's.

        Raises ValueError when one of them isn't a certificate.
        """
        self._authorities = authorities
        self._proxies = proxies or Proxies()
        self._clients: dict[bool, httpx.AsyncClient] = {}
        _tls(authorities, verify=True)

    def _client(self, *, verify: bool) -> httpx.AsyncClient:
        client = self._clients.get(verify)
        if client is None:
            context = _tls(self._authorities, verify=verify)
            client = self._clients[verify] = _new_client(context, self._proxies)
        return client

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        *,
        verify: bool,
        headers: Mapping[str, str],
        data: Mapping[str, str] | None = None,
        content: AsyncIterable[bytes] | bytes | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send one request; yields the response with its body unread.

        `data` is a form, `content` a body of any kind; a stream's length is for `headers` to tell.

        Raises:
            RegistryUnavailable: no connection, or it broke, also while the body is read.
            HostNotFound: the name doesn't resolve.
            NotTls: the server speaks plain HTTP.
        """
        client = self._client(verify=verify)
        with explained(method, url):
            request = client.build_request(method, url, headers=headers, data=data, content=content)
            response = await client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()

    @asynccontextmanager
    async def get(
        self, url: str, *, verify: bool, headers: Mapping[str, str], authorization: str | None
    ) -> AsyncIterator[httpx.Response]:
        """GET, following redirects. `authorization` goes to the URL's own origin alone.

        A redirect from HTTPS to HTTP is refused unless `verify` is off.
        """
        home = origin_of(url)
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            own = {"Authorization": authorization} if authorization is not None else {}
            sent = {**headers, **(own if origin_of(at) == home else {})}
            async with self.send("GET", at, verify=verify, headers=sent) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                at = next_url(at, response, allow_http=not verify)
        raise RegistryMisbehaves(f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


def _tls(authorities: Sequence[str], *, verify: bool) -> ssl.SSLContext:
    if verify:
        context = ssl.create_default_context()
        for pem in authorities:
            try:
                context.load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError) as error:
                raise ValueError(f"a registry's authority is no certificate: {error}") from error
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _new_client(context: ssl.SSLContext, proxies: Proxies) -> httpx.AsyncClient:
    client = httpx.AsyncClient(
        verify=context,
        mounts=proxies.mounts(context),
        follow_redirects=False,
        trust_env=False,
        timeout=_TIMEOUT,
        limits=_LIMITS,
        headers={"User-Agent": "vic-imagec", "Accept-Encoding": "identity"},
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


def next_url(at: str, response: httpx.Response, *, allow_http: bool) -> str:
    """Where a response's Location leads. Raises RegistryMisbehaves where it may not."""
    location: str | None = response.headers.get("Location")
    if not location:
        raise RegistryMisbehaves(f'Get "{at}": {response.status_code} response without Location')
    try:
        target = urljoin(at, location)
    except ValueError:
        target = ""
    parts = web_address(target)
    if parts is None:
        raise RegistryMisbehaves(f'Get "{at}": redirected to an invalid URL')
    if parts.scheme == "http" and urlsplit(at).scheme == "https" and not allow_http:
        raise RegistryMisbehaves(f'Get "{at}": redirected from https to http')
    return target


class explained:  # noqa: N801 - a context manager used like a function
    """Turns httpx's errors into ours, worded as Go's net/http words them."""

    def __init__(self, method: str, url: str) -> None:
        parts = urlsplit(url)
        # A signed URL's query is a secret.
        shown = parts._replace(query="", fragment="").geturl()
        self._prefix = f'{method.capitalize()} "{shown}": '
        self._parts = parts

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise ours in place of httpx's."""
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> RegistryUnavailable:
        host = self._parts.hostname or ""
        dial = f"dial tcp {host}:{_port(self._parts)}: "
        cause = _cause(error)
        if isinstance(cause, socket.gaierror):
            return HostNotFound(f"{self._prefix}dial tcp: lookup {host}: no such host")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RegistryUnavailable(
                f"{self._prefix}tls: failed to verify certificate: x509: {cause.verify_message}"
            )
        if isinstance(cause, ssl.SSLError):
            if cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
                return NotTls(f"{self._prefix}http: server gave HTTP response to HTTPS client")
            return RegistryUnavailable(f"{self._prefix}tls: {cause.reason or 'handshake failed'}")
        if isinstance(error, httpx.ConnectTimeout):
            return RegistryUnavailable(f"{self._prefix}{dial}i/o timeout")
        if isinstance(error, httpx.TimeoutException):
            return RegistryUnavailable(
                f"{self._prefix}net/http: request canceled "
                "(Client.Timeout exceeded while awaiting headers)"
            )
        if isinstance(cause, ConnectionRefusedError):
            return RegistryUnavailable(f"{self._prefix}{dial}connect: connection refused")
        if isinstance(error, httpx.ConnectError):
            reason = cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else ""
            return RegistryUnavailable(f"{self._prefix}{dial}{reason or 'cannot connect'}")
        return RegistryUnavailable(f"{self._prefix}{error or 'unexpected EOF'}")


def _cause(error: BaseException) -> BaseException:
    """The deepest telling cause: httpx and anyio wrap what the system said."""
    seen: BaseException = error
    pending: list[BaseException] = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, OSError) and not isinstance(current, TimeoutError):
            seen = current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(current.exceptions)
        following = current.__cause__ or current.__context__
        if following is not None:
            pending.append(following)
    return seen
