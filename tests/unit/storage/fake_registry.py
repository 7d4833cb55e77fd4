"""A registry in the test's own event loop that can be told to misbehave."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.images import Image, index_bytes, sha256


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""
    target: str = ""
    """Path and query as they came."""


@dataclass
class Answer:
    """What it gets."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    """Break the connection after so many bytes of body."""

    length: int | None = None
    """Another Content-Length than the true one."""

    hold: asyncio.Event | None = None
    """Send the body only once this is set."""

    silent: bool = False
    """Tell of a body without sending it, as the answer to HEAD does."""

    hold_head: asyncio.Event | None = None
    """Send anything at all only once this is set."""

    endless: bool = False
    """Repeat the body for ever, without a length."""


TLS_HANDSHAKE = b"\x16"
"""First byte of a TLS client's first record."""

Handler = Callable[[Request], Answer]


class FakeRegistry:
    """Serves blobs and manifests; `faults` of a path are answered first, one a request."""

    def __init__(self) -> None:
        self.address = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.requests: list[Request] = []
        self.connections: set[asyncio.Task[None]] = set()
        self.faults: defaultdict[str, list[Handler]] = defaultdict(list)
        self.always: dict[str, Handler] = {}
        self.authenticate: Callable[[Request], Answer | None] = lambda _request: None

    def add(self, image: Image, repository: str, *references: str) -> None:
        """Hold an image under its digest and under tags."""
        for content in (image.config_bytes, *(layer.blob for layer in image.layers)):
            self.blobs[sha256(content)] = content
        for reference in (image.digest, *references):
            self.manifests[f"{repository}/{reference}"] = (image.media_type, image.manifest_bytes)

    def add_index(self, images: list[Image], repository: str, tag: str) -> str:
        """Hold images and an index of them; returns the index's digest."""
        for image in images:
            self.add(image, repository)
        body = index_bytes(images)
        for reference in (tag, sha256(body)):
            self.manifests[f"{repository}/{reference}"] = (
                "application/vnd.oci.image.index.v1+json",
                body,
            )
        return sha256(body)

    def fetched(self, what: str) -> list[Request]:
        """The requests whose path has `what` in it."""
        return [request for request in self.requests if what in request.path]

    def answer(self, request: Request) -> Answer:
        """Choose an answer."""
        self.requests.append(request)
        if self.faults[request.path]:
            return self.faults[request.path].pop(0)(request)
        if request.path in self.always:
            return self.always[request.path](request)
        refused = self.authenticate(request)
        if refused is not None:
            return refused
        if request.path == "/v2/":
            return Answer(body=b"{}")
        kind = "manifests" if "/manifests/" in request.path else "blobs"
        repository, _, target = request.path.removeprefix("/v2/").partition(f"/{kind}/")
        if request.method in ("POST", "PUT"):
            return self.take(request, kind, repository, target)
        if kind == "manifests":
            found = self.manifests.get(f"{repository}/{target}")
            if found is None:
                return problem(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return Answer(headers={"Content-Type": found[0]}, body=found[1])
        if target not in self.blobs and request.method == "HEAD":
            return Answer(404, silent=True)
        if target not in self.blobs:
            return problem(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return self.blob(request, target)

    def take(self, request: Request, kind: str, repository: str, target: str) -> Answer:
        """What a push sends: the beginning of an upload, a blob, a manifest."""
        if kind == "manifests":
            held = (request.headers["content-type"], request.body)
            self.manifests[f"{repository}/{target}"] = held
            self.manifests[f"{repository}/{sha256(request.body)}"] = held
            return Answer(201)
        if request.method == "POST":
            mounted = request.query.get("mount", [""])[0]
            if mounted in self.blobs:
                return Answer(201)
            return Answer(202, {"Location": f"/v2/{repository}/blobs/uploads/1?state=x"})
        (digest,) = request.query["digest"]
        if sha256(request.body) != digest:
            return problem(400, "DIGEST_INVALID", "provided digest did not match")
        self.blobs[digest] = request.body
        return Answer(201)

    def blob(self, request: Request, digest: str) -> Answer:
        """A blob, or the range of it that was asked for."""
        content = self.blobs[digest]
        if request.method == "HEAD":
            return Answer(body=content, silent=True)
        asked = request.headers.get("range")
        if asked is None:
            return Answer(body=content)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(206, {"Content-Range": span}, content[start:])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            first = await reader.read(1)
            if first == TLS_HANDSHAKE:  # as a plain server answers a TLS client
                writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            while (request := await _read(reader, first)) is not None:
                first = b""
                answer = self.answer(request)
                if request.method == "HEAD":
                    answer = replace(answer, silent=True)
                if not await _write(writer, answer):
                    return
        except (ConnectionError, asyncio.CancelledError):
            return  # the client left, or the test is over
        finally:
            self.connections.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader, first: bytes) -> Request | None:
    try:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query), headers, body, target)


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Send an answer; whether the connection goes on."""
    if answer.hold_head is not None:
        await answer.hold_head.wait()
    headers = dict(answer.headers)
    if not answer.endless:
        headers["Content-Length"] = str(
            len(answer.body) if answer.length is None else answer.length
        )
    lines = [f"HTTP/1.1 {answer.status} Reason", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    await writer.drain()
    if answer.hold is not None:
        await answer.hold.wait()
    if answer.silent:
        return True
    while answer.endless:
        writer.write(answer.body)
        await writer.drain()
    writer.write(answer.body[: answer.cut_after])
    await writer.drain()
    return answer.cut_after is None and answer.length is None


def problem(status: int, code: str, message: str) -> Answer:
    """An error as the distribution specification has it."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status, {"Content-Type": "application/json"}, body)


def asks_basic(username: str, password: str) -> Callable[[Request], Answer | None]:
    """Insist on Basic credentials."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()

    def check(request: Request) -> Answer | None:
        if request.headers.get("authorization") == f"Basic {pair}":
            return None
        answer = problem(401, "UNAUTHORIZED", "authentication required")
        answer.headers["WWW-Authenticate"] = 'Basic realm="test"'
        return answer

    return check


def asks_bearer(realm: str, token: str) -> Callable[[Request], Answer | None]:
    """Insist on a token."""

    def check(request: Request) -> Answer | None:
        if request.headers.get("authorization") == f"Bearer {token}":
            return None
        answer = problem(401, "UNAUTHORIZED", "authentication required")
        answer.headers["WWW-Authenticate"] = (
            f'Bearer realm="{realm}",service="registry.test",scope="repository:x:pull"'
        )
        return answer

    return check


def gives_token(**fields: Any) -> Handler:
    """A token server."""
    return lambda _request: Answer(body=json.dumps(fields).encode())


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeRegistry]:
    """A registry on a free loopback port."""
    registry = FakeRegistry()
    server = await asyncio.start_server(registry.serve, "127.0.0.1", 0, ssl=tls)
    registry.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield registry
    finally:
        server.close()
        connections = [*registry.connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.wait_for(server.wait_closed(), 60)
