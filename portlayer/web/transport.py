"""HTTP as a client: limits, redirects by hand, and no answer that is another than was sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from portlayer.web.addresses import as_sent, origin_of, web_address
from portlayer.web.errors import ServerMisbehaves
from portlayer.web.guarding import Guard, check_host, guarded_socket
from portlayer.web.proxies import Proxies
from portlayer.web.unreachable import explained

MAX_REDIRECTS = 5
CONNECT_TIMEOUT = 15.0
"""Seconds for a name's look-up, and as many for a connection with its TLS."""

READ_TIMEOUT = 30.0
"""Seconds without a byte until a connection counts as broken, and for an answer's head."""

WRITE_TIMEOUT = 30.0
"""Seconds for one piece of a request's body."""

_TIMEOUT = aiohttp.ClientTimeout(
    total=None, connect=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
)
_MAX_CONNECTIONS = 64
_KEPT_SECONDS = 30.0
_MAX_HEADER = 32 << 10
"""Bytes of one header: what is signed can be long. There are at most `_MAX_HEADERS`."""

_MAX_HEADERS = 128
_READ_BUFFER = 256 << 10
"""Bytes that asyncio takes off a socket at once."""

_PIECE = 64 << 10
"""Bytes of a body that are sent at once."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

Body = AsyncIterable[bytes] | bytes | Mapping[str, str]
"""A stream, whose length is for the headers to tell; bytes; or a form."""


class Response:
    """An answer, its body unread."""

    def __init__(self, answer: aiohttp.ClientResponse, url: str, asked: Mapping[str, str]) -> None:
        self._answer = answer
        self._protocol = answer.connection.protocol if answer.connection is not None else None
        self.status = answer.status
        self.reason = _text(answer.reason or "")
        self.url = url
        """What was asked; redirects are followed already."""
        self.authorization = asked.get("Authorization")
        """What it was asked with."""

    def header(self, name: str, default: str = "") -> str:
        """The first header of a name, in any case."""
        return _text(self._answer.headers.get(name, default))

    def headers(self, name: str) -> list[str]:
        """All headers of a name."""
        return [_text(value) for value in self._answer.headers.getall(name, ())]

    @property
    def length(self) -> int | None:
        """How many bytes of body it says to have."""
        length = self.header("Content-Length")
        return int(length) if length.isdecimal() and len(length) < 19 else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come."""
        content = self._answer.content
        while True:
            # The client's own limit ends with the connection, of whose end by a damaged chunk the
            # body is not told.
            try:
                async with asyncio.timeout(READ_TIMEOUT):
                    data = await content.readany()
            except TimeoutError as error:
                if isinstance(error, aiohttp.ClientError):
                    raise
                raise aiohttp.SocketTimeoutError from error
            if not data:
                break
            yield data
        if self.length is None and not self.header("Transfer-Encoding"):
            self._check_closed()

    def _check_closed(self) -> None:
        """Raise where a body that goes on until the end was broken off: that is no end."""
        error = self._protocol.exception() if self._protocol is not None else None
        if isinstance(error, aiohttp.ClientOSError):
            raise error


def _text(value: str) -> str:
    """The client lets bytes that aren't UTF-8 through as surrogates, which nothing can encode."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Transport:
    """HTTP clients, some of which don't check certificates.

    None follows redirects, keeps cookies, reads proxies from the environment, nor asks for
    compression: what is hashed must be what was sent.
    """

    def __init__(
        self,
        authorities: Sequence[str] = (),
        proxies: Proxies | None = None,
        *,
        agent: str = "vic-imagec",
        guard: Guard | None = None,
    ) -> None:
        """`authorities` are certificates in PEM form that are trusted beside the system's.

        What the guard refuses is not connected to, whatever name led there and at each redirect. A
        name that a proxy is asked for is looked up by the proxy, so of that addresses alone are
        seen. Reads the system's certificates, which takes some milliseconds. Raises ValueError when
        one of the authorities isn't a certificate.
        """
        self._proxies = proxies or Proxies()
        self._agent = agent
        self._guard = guard
        self._clients: dict[tuple[bool, bool], aiohttp.ClientSession] = {}
        self._checking = _tls(authorities)

    def _client(self, *, verify: bool, guarded: bool) -> aiohttp.ClientSession:
        client = self._clients.get((verify, guarded))
        if client is None:
            client = self._clients[verify, guarded] = _new_client(
                self._checking if verify else _any_tls(),
                self._agent,
                self._guard if guarded else None,
            )
        return client

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        *,
        verify: bool,
        headers: Mapping[str, str],
        content: Body | None = None,
    ) -> AsyncIterator[Response]:
        """Send one request; yields the response with its body unread.

        Raises:
            ServerUnavailable: no connection, or it broke, also while the body is read.
            HostNotFound: the name doesn't resolve.
            NotTls: the server speaks plain HTTP.
            AddressRefused: the guard refuses it.
        """
        proxy = self._proxies.of(url)
        client = self._client(verify=verify, guarded=proxy is None)
        with explained(method, url):
            if proxy is not None and self._guard is not None:
                check_host(self._guard, url)
            answer = await self._answer(client, method, url, headers, content, proxy)
            try:
                yield Response(answer, url, headers)
            finally:
                # Of a body that wasn't read to its end this closes the connection.
                answer.release()

    async def _answer(
        self,
        client: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Body | None,
        proxy: str | None,
    ) -> aiohttp.ClientResponse:
        try:
            target = as_sent(url)
        except ValueError as error:
            raise aiohttp.InvalidURL(url) from error
        patience = _Patience()
        data: Any = content
        if isinstance(content, bytes) and content:
            headers = {**headers, "Content-Length": str(len(content))}
            content = _pieces(content)
        if isinstance(content, AsyncIterable):
            data = _watched(content, patience)
        else:
            patience.awaits_answer = True
        try:
            async with patience.timeout:
                return await client.request(
                    method,
                    target,
                    trace_request_ctx=patience,
                    headers=headers,
                    data=data,
                    proxy=proxy,
                    allow_redirects=False,
                )
        except TimeoutError as error:
            if isinstance(error, aiohttp.ClientError):
                raise
            raise aiohttp.SocketTimeoutError from error

    @asynccontextmanager
    async def get(
        self, url: str, *, verify: bool, headers: Mapping[str, str], authorization: str | None
    ) -> AsyncIterator[Response]:
        """GET, following redirects. `authorization` goes to the URL's own origin alone.

        A redirect from HTTPS to HTTP is refused unless `verify` is off.
        """
        home = origin_of(url)
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            own = {"Authorization": authorization} if authorization is not None else {}
            sent = {**headers, **(own if origin_of(at) == home else {})}
            async with self.send("GET", at, verify=verify, headers=sent) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                at = next_url(response, allow_http=not verify)
        raise ServerMisbehaves(f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


class _Patience:
    """Gives a request up that comes no further; what it waits for sets the time anew.

    The client's own limits leave gaps: a proxy that takes CONNECT and is silent, an answer that
    only says to wait, a body that isn't taken.
    """

    def __init__(self) -> None:
        self.timeout = asyncio.timeout(None)
        self.awaits_answer = False
        """Whether nothing but the answer is left once the head is sent."""

    def within(self, seconds: float | None) -> None:
        """From now on; None is for ever. Of a request that is answered it is without effect."""
        now = asyncio.get_running_loop().time()
        with contextlib.suppress(RuntimeError):
            self.timeout.reschedule(None if seconds is None else now + seconds)


async def _connects(_client: object, context: Any, _what: object) -> None:
    # A proxy's connection, and the one through it.
    context.trace_request_ctx.within(2 * CONNECT_TIMEOUT + READ_TIMEOUT)


async def _is_connected(_client: object, context: Any, _what: object) -> None:
    context.trace_request_ctx.within(None)


async def _has_sent_head(_client: object, context: Any, _what: object) -> None:
    if context.trace_request_ctx.awaits_answer:
        context.trace_request_ctx.within(READ_TIMEOUT)


def _steps() -> aiohttp.TraceConfig:
    """Tell a request's patience how far it has come."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_connects)
    trace.on_connection_create_end.append(_is_connected)
    trace.on_request_headers_sent.append(_has_sent_head)
    return trace


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), _PIECE):
        yield body[begin : begin + _PIECE]


async def _watched(content: AsyncIterable[bytes], patience: _Patience) -> AsyncIterator[bytes]:
    """A request's body; the request times out when a piece of it isn't taken, or at its end."""
    async for piece in content:
        patience.within(WRITE_TIMEOUT)
        yield piece
        patience.within(None)
    patience.within(READ_TIMEOUT)


class _Resolver(ThreadedResolver):
    """Looks names up as the system does, and not for ever."""

    async def resolve(self, *arguments: Any, **options: Any) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await super().resolve(*arguments, **options)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, "no host's name") from error


def _tls(authorities: Sequence[str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for pem in authorities:
        try:
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"a registry's authority is no certificate: {error}") from error
    return context


def _any_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _new_client(context: ssl.SSLContext, agent: str, guard: Guard | None) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=context,
        limit=_MAX_CONNECTIONS,
        keepalive_timeout=_KEPT_SECONDS,
        resolver=_Resolver(),
        use_dns_cache=False,
        socket_factory=None if guard is None else partial(guarded_socket, guard),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": agent, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        timeout=_TIMEOUT,
        read_bufsize=_READ_BUFFER,
        max_line_size=_MAX_HEADER,
        max_field_size=_MAX_HEADER,
        max_headers=_MAX_HEADERS,
        trace_configs=[_steps()],
    )


def next_url(response: Response, *, allow_http: bool) -> str:
    """Where a response's Location leads. Raises ServerMisbehaves where it may not."""
    at = response.url
    location = response.header("Location")
    if not location:
        raise ServerMisbehaves(f'Get "{at}": {response.status} response without Location')
    try:
        target = urljoin(at, location)
    except ValueError:
        target = ""
    parts = web_address(target)
    if parts is None:
        raise ServerMisbehaves(f'Get "{at}": redirected to an invalid URL')
    if parts.scheme == "http" and urlsplit(at).scheme == "https" and not allow_http:
        raise ServerMisbehaves(f'Get "{at}": redirected from https to http')
    return target
