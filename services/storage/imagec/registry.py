"""A repository in a registry: manifests and blobs.

Source: OCI distribution specification 1.1, "Pull", "Push".
"""

from __future__ import annotations

import re
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

from portlayer.web.addresses import origin_of
from portlayer.web.transport import REDIRECTS, Body, Response, Transport, next_url
from services.storage.imagec.authorization import Authorizer, read_limited
from services.storage.imagec.digest import Digest
from services.storage.imagec.endpoints import Endpoint
from services.storage.imagec.errors import (
    DigestMismatch,
    InvalidManifest,
    ManifestNotFound,
    PullDenied,
    RegistryMisbehaves,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from services.storage.imagec.manifest import ACCEPT, MAX_CONFIG, MAX_MANIFEST, parse_json
from services.storage.imagec.problems import problem_of
from services.storage.imagec.reference import Reference

MAX_TAGS = 10_000
"""Of a repository; others aren't looked at."""

_MAX_PAGES = 200
_NEXT_PAGE = re.compile(r'<([^>]+)>; *rel="?next"?')
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DENIED = "denied: requested access to the resource is denied"


@dataclass(frozen=True)
class FetchedManifest:
    """A manifest or index as a registry sent it, its digest checked."""

    body: bytes
    content_type: str
    digest: Digest


@dataclass(frozen=True)
class BlobBody:
    """A blob's bytes from `start` on."""

    start: int
    chunks: AsyncIterator[bytes]


class Repository:
    """One repository at one endpoint, for one user."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, reference: Reference, auth: Authorizer
    ) -> None:
        self.endpoint = endpoint
        self.reference = reference
        self._transport = transport
        self._auth = auth
        self._base = f"{endpoint.url}/v2/{reference.path}"

    async def manifest(self, target: str) -> FetchedManifest:
        """Fetch the manifest or index of a tag or a digest.

        Raises:
            ManifestNotFound, PullDenied, RegistryUnauthorized, RegistryUnavailable: as Docker
                says it.
            DigestMismatch: the body isn't what was asked for.
        """
        url = f"{self._base}/manifests/{target}"
        async with self._get(url, {"Accept": ACCEPT}) as response:
            if response.status != 200:
                raise await self._manifest_problem(response)
            try:
                body = await read_limited(response, MAX_MANIFEST)
            except RegistryUnavailable as error:
                if "larger than" in error.message:
                    raise InvalidManifest(error.message) from error
                raise
            content_type = response.header("Content-Type")
            promised = response.header("Docker-Content-Digest")
        digest = Digest.of(body)
        for wanted in (target if ":" in target else "", promised):
            if wanted.startswith("sha256:") and wanted != digest:
                raise DigestMismatch(
                    f"manifest verification failed for digest {wanted[:80]}: it is {digest}"
                )
        return FetchedManifest(body, content_type, digest)

    async def tags(self) -> list[str]:
        """Every tag of the repository, page by page. Raises as `manifest` does."""
        found: list[str] = []
        url = f"{self._base}/tags/list"
        for _ in range(_MAX_PAGES):
            async with self._get(url, {}) as response:
                if response.status != 200:
                    raise await self._manifest_problem(response)
                body = await read_limited(response, MAX_MANIFEST)
                link = _NEXT_PAGE.search(response.header("Link"))
            tags = parse_json(body, "list of tags").get("tags") or []
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise RegistryMisbehaves(f'Get "{url}": invalid list of tags')
            found += tags
            if link is None or len(found) > MAX_TAGS:
                break
            url = urljoin(url, link[1])
            if origin_of(url) != origin_of(self.endpoint.url):
                raise RegistryMisbehaves(f'Get "{url}": the next page is at another host')
        return found[:MAX_TAGS]

    async def config(self, digest: Digest, size: int) -> bytes:
        """Fetch a configuration. Raises as `manifest` does."""
        if size > MAX_CONFIG:
            raise InvalidManifest(f"image configuration is larger than {MAX_CONFIG} bytes")
        parts = bytearray()
        async with self.blob(digest, 0, size) as body:
            async for chunk in body.chunks:
                parts += chunk
        if Digest.of(bytes(parts)) != digest:
            raise DigestMismatch(f"image config verification failed for digest {digest}")
        return bytes(parts)

    @asynccontextmanager
    async def blob(self, digest: Digest, offset: int, size: int) -> AsyncIterator[BlobBody]:
        """Open a blob of `size` bytes, from `offset` on where the registry can do that.

        The chunks end after at most `size` bytes in all; whether they are the right ones is for
        the caller to check.

        Raises:
            ManifestNotFound: the registry doesn't have it.
            RegistryMisbehaves: it sends something else than was asked for.
            RegistryUnavailable: the connection broke; asking again may help.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._get(f"{self._base}/blobs/{digest}", headers) as response:
            start = await self._blob_start(response, digest, offset, size)
            if response.length is not None and response.length != size - start:
                raise RegistryMisbehaves(
                    f"blob {digest}: the registry sends {start + response.length} bytes "
                    f"where the manifest says {size}"
                )
            yield BlobBody(start, _at_most(response, size - start, digest))

    async def _blob_start(self, response: Response, digest: Digest, offset: int, size: int) -> int:
        status = response.status
        if status == 200:
            return 0
        if status == 206 and offset:
            found = _CONTENT_RANGE.fullmatch(response.header("Content-Range"))
            if not found or int(found[1]) != offset or found[3] not in ("*", str(size)):
                raise RegistryMisbehaves(
                    f"blob {digest}: the registry answers a wrong range: "
                    f"{response.header('Content-Range', 'none')[:100]}"
                )
            return offset
        if status == 404:
            problem = await problem_of(response, "blob unknown: blob unknown to registry")
            raise ManifestNotFound(f"blob {digest} not found: {problem.text}")
        if status in (401, 403):
            raise await self._denied(response)
        raise await self._unexpected(response)

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has a blob. Raises RegistryUnauthorized, RegistryUnavailable."""
        async with self._ask("HEAD", f"{self._base}/blobs/{digest}") as response:
            if response.status == 404:
                return False
            if response.status in REDIRECTS:
                # It tells where its store has the blob, and does so of none that isn't there.
                return True
            await self._expect(response, 200)
            return True

    async def begin_upload(self, digest: Digest, mount_from: str | None) -> str | None:
        """Begin to bring a blob, from another repository of the registry where that has it.

        Returns where to send it, None where nothing is left to send. Raises as `has_blob`.
        """
        url = f"{self._base}/blobs/uploads/"
        if mount_from is not None:
            url += f"?{urlencode({'mount': digest, 'from': mount_from})}"
        headers = {"Content-Length": "0"}
        async with self._ask("POST", url, headers) as response:
            if response.status == 201 and mount_from is not None:
                return None
            await self._expect(response, 202)
            return next_url(response, allow_http=self.endpoint.insecure)

    async def upload(
        self, location: str, digest: Digest, size: int, body: Callable[[], AsyncIterable[bytes]]
    ) -> None:
        """Send a blob's bytes to where `begin_upload` said. Raises as `has_blob`."""
        url = location + ("&" if urlsplit(location).query else "?") + urlencode({"digest": digest})
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        async with self._ask("PUT", url, headers, body) as response:
            await self._expect(response, 201)

    async def put_manifest(self, target: str, body: bytes, media_type: str) -> None:
        """Give a manifest a name, or hold it under its digest. Raises as `has_blob`."""
        url = f"{self._base}/manifests/{target}"
        async with self._ask("PUT", url, {"Content-Type": media_type}, lambda: body) as response:
            await self._expect(response, 201)

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Body] | None = None,
    ) -> AsyncIterator[Response]:
        """Send a request without following redirects, answering one challenge.

        Authorization goes to the registry's own origin alone.
        """
        home = origin_of(url) == origin_of(self.endpoint.url)
        answered = False
        while True:
            token = self._auth.header() if home else None
            own = {"Authorization": token} if token is not None else {}
            async with self._transport.send(
                method,
                url,
                verify=self.endpoint.verify,
                headers={**(headers or {}), **own},
                content=None if body is None else body(),
            ) as response:
                if response.status != 401 or answered or not home:
                    yield response
                    return
                await self._auth.answer(response)
                answered = True

    async def _expect(self, response: Response, status: int) -> None:
        if response.status == status:
            return
        if response.status in (401, 403):
            problem = await problem_of(response, _DENIED)
            raise RegistryUnauthorized(problem.text)
        raise await self._unexpected(response)

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str]) -> AsyncIterator[Response]:
        """GET with authorization, answering one challenge."""
        answered = False
        while True:
            async with self._transport.get(
                url,
                verify=self.endpoint.verify,
                headers=headers,
                authorization=self._auth.header(),
            ) as response:
                home = origin_of(response.url) == origin_of(url)
                if response.status != 401 or answered or not home:
                    yield response
                    return
                await self._auth.answer(response)
                answered = True

    async def _manifest_problem(self, response: Response) -> Exception:
        status = response.status
        if status == 404:
            problem = await problem_of(response, "manifest unknown: manifest unknown")
            if problem.code == "NAME_UNKNOWN":
                return ManifestNotFound(
                    f"repository {self.reference.familiar_name} not found: {problem.text}"
                )
            return ManifestNotFound(
                f"manifest for {self.reference.familiar} not found: {problem.text}"
            )
        if status in (401, 403):
            return await self._denied(response)
        return await self._unexpected(response)

    async def _denied(self, response: Response) -> Exception:
        problem = await problem_of(response, _DENIED)
        if response.status == 401 and self._auth.uses_basic:
            return RegistryUnauthorized(f'Get "{self.endpoint.url}/v2/": {problem.text}')
        # Registries answer 401 for repositories that don't exist as well; Docker says denied.
        text = problem.text if response.status == 403 else _DENIED
        return PullDenied(
            f"pull access denied for {self.reference.familiar_name}, "
            f"repository does not exist or may require 'docker login': {text}"
        )

    async def _unexpected(self, response: Response) -> RegistryUnavailable:
        status = f"{response.status} {response.reason}"
        problem = await problem_of(response, f"received unexpected HTTP status: {status}")
        gone = response.status != 429 and response.status < 500
        return (RegistryMisbehaves if gone else RegistryUnavailable)(problem.text)


async def _at_most(response: Response, limit: int, digest: Digest) -> AsyncIterator[bytes]:
    left = limit
    async for chunk in response.chunks():
        left -= len(chunk)
        if left < 0:
            raise RegistryMisbehaves(f"blob {digest}: more bytes than the manifest says")
        yield chunk
