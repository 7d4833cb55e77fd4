"""Version negotiation, headers, error form: what wraps every request. Pure ASGI, to stay thin.

The path's ``/v1.41`` is taken off before routing and kept as ``scope["vic.api_version"]``. Every
answer carries the headers by which clients learn what they talk to, and every error is JSON.
"""

import asyncio
import json
import logging
import re
import time
from contextlib import suppress
from email.utils import formatdate

from opentelemetry.trace import SpanKind
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import API_VERSION, MIN_API_VERSION
from gateway.errors import ApiError, describe
from gateway.origins import OriginPolicy
from portlayer.errors import VicError, leaf_error
from portlayer.telemetry import current_span

logger = logging.getLogger("vic.api")

VERSION_KEY = "vic.api_version"
# What of a request's body is read before a refusal goes out, as Go's server does: a client that is
# answered while it still sends may tell of a broken pipe instead. Go has no time limit.
_READ_BYTES = 256 * 1024
_READ_SECONDS = 1.0
_VERSIONED = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(?=/|$)")


def version_text(version: tuple[int, int]) -> str:
    """The version as Docker writes it."""
    return f"{version[0]}.{version[1]}"


class DockerFrontDoor:
    """The outermost ASGI application: everything a client sees has passed here."""

    def __init__(self, app: ASGIApp, origins: OriginPolicy, server: str) -> None:
        self._app = app
        self._origins = origins
        self._headers = [
            (b"api-version", version_text(API_VERSION).encode()),
            (b"docker-experimental", b"false"),
            (b"ostype", b"linux"),
            (b"server", server.encode()),
        ]
        self._date = (0, (b"date", b""))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(send, [self._date_header(), *self._headers])
        request = _Request(receive)
        try:
            self._origins.check(scope)
            take_version(scope)
            if scope["path"] == "/_ping":
                await self._app(scope, receive, exchange.send)
                return
            called = f"HTTP {scope['method']}"
            with current_span(called, None, SpanKind.SERVER, {"path": scope["path"]}):
                await self._app(scope, request.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the border: every error becomes an answer
            refusal = _refusal(error, scope)
            if exchange.status:
                # The head is out; cutting the stream short is all that is left to tell.
                logger.warning("the answer was cut short: %s", refusal.message)
                return
            await request.read_on(scope)
            await exchange.refuse(refusal, scope["method"])
        _log(scope, exchange.status)

    def _date_header(self) -> tuple[bytes, bytes]:
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, (b"date", formatdate(now, usegmt=True).encode()))
        return self._date[1]


class _Request:
    """What a client sends, and whether that was all."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._whole = not message.get("more_body", False)
        return message

    async def read_on(self, scope: Scope) -> None:
        """Take in the rest of the body, where that isn't much and comes soon."""
        if any(name == b"expect" for name, _ in scope["headers"]):
            return  # it waits to be told before it sends
        read = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_READ_SECONDS):
                while not self._whole and read <= _READ_BYTES:
                    read += len((await self.receive()).get("body", b""))


class _Exchange:
    """One answer under way: adds the headers that all have, and knows whether it has begun."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def refuse(self, error: ApiError, method: str) -> None:
        body = b""
        headers = []
        if error.status != 304:
            body = json.dumps({"message": error.message}).encode() + b"\n"
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
        start = {"type": "http.response.start", "status": error.status, "headers": headers}
        await self.send(start)
        if method == "HEAD":
            body = b""
        await self.send({"type": "http.response.body", "body": body})


def take_version(scope: Scope) -> None:
    """Move the API version from the path into the scope. Raises ApiError for one we don't speak."""
    found = _VERSIONED.match(scope["path"])
    if found is None:
        scope[VERSION_KEY] = API_VERSION
        return
    version = (int(found[1]), int(found[2]))
    if version > API_VERSION:
        raise ApiError(
            400,
            f"client version {version_text(version)} is too new. "
            f"Maximum supported API version is {version_text(API_VERSION)}",
        )
    if version < MIN_API_VERSION:
        raise ApiError(
            400,
            f"client version {version_text(version)} is too old. "
            f"Minimum supported API version is {version_text(MIN_API_VERSION)}, "
            "please upgrade your client to a newer version",
        )
    scope[VERSION_KEY] = version
    scope["path"] = scope["path"][found.end() :] or "/"
    scope["raw_path"] = scope["path"].encode()


def _refusal(failure: Exception, scope: Scope) -> ApiError:
    error = leaf_error(failure)
    if isinstance(error, ApiError):
        return error
    if isinstance(error, VicError):
        return describe(error, scope.get("path_params", {}))
    if isinstance(error, HTTPException):
        # No route, or none for this method, which dockerd doesn't tell apart.
        return ApiError(404, "page not found")
    logger.error("failed", exc_info=failure, extra={"path": scope["path"]})
    return ApiError(500, "internal error; the gateway's log has the details")


def _log(scope: Scope, status: int) -> None:
    level = logging.DEBUG if status < 500 or status == 501 else logging.WARNING
    if logger.isEnabledFor(level):
        fields = {"method": scope["method"], "path": scope["path"], "status": status}
        logger.log(level, "answered", extra=fields)
