"""What a build gets by HTTP: a file for ADD, a context or a Dockerfile for ``remote``.

Source: moby, builder/remotecontext/remote.go and builder/dockerfile/copy.go.
"""

import asyncio
import os
import re
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gateway.build.addresses import Address, address_of, file_name, last_modified
from gateway.build.encodings import BadEncoding, check_encoding, is_packed, unpacked
from gateway.build.lexing import MAX_DOCKERFILE
from gateway.build.output import Output
from gateway.build.spooling import put_aside, tree_of
from gateway.build.trees import Entry, Tree
from gateway.build.web import Web
from gateway.errors import ApiError, bad_parameter
from gateway.translate.progress import progress_bar
from portlayer.errors import VicError
from portlayer.threads import in_thread
from portlayer.web.errors import AddressRefused, HostNotFound, ServerUnavailable
from portlayer.web.reach import guard_of
from portlayer.web.transport import Response, Transport

UNNAMED = "__unnamed__"
"""What a file is called in a directory where nothing says its name."""

LONGEST_SECONDS = 3600.0
"""From the first connection to the last byte. A server that is silent is left much sooner."""

_AGENT = "vic-build"
_TOLD_BYTES = 512 * 1024
"""Between two lines of progress, or a hundredth of what is long."""

_TOLD_OF_FAILURE = 4096
"""Bytes of a refusal's body that are told."""

_OUTRIGHT = (400, 401, 403, 404)
"""What a server says that is passed on; all else is its own trouble."""

_CONTEXT = re.compile(r"application/(x-)?(tar|gzip|bzip2?|xz|zstd|octet-stream)|text/plain")
_TEXT = "text/plain"
_ENCODING = "Content-Encoding"
_UNTOLD = ("", "application/octet-stream")


@dataclass(frozen=True)
class Fetched:
    """What `remote` has led to: a context, or a Dockerfile without one."""

    context: Tree | None
    dockerfile: bytes = b""


class Fetcher:
    """Fetches for one build, and tells how far it has come."""

    def __init__(self, web: Web, output: Output, spool: Path | None) -> None:
        self._web = web
        self._output = output
        self._spool = spool

    async def file(self, url: str, *, into_directory: bool) -> tuple[Tree, str]:
        """A file by its URL as a tree of nothing else, to be closed, and its name there.

        Raises:
            ApiError: with its reason, in dockerd's words.
        """
        address = _address(url)
        async with self._get(address) as response:
            name = file_name(address.url, response.header("Content-Disposition"))
            if not name and into_directory:
                raise bad_parameter(f"cannot determine filename for source {address.shown}")
            name = name or UNNAMED
            file = await self._put_aside(response, address, {"status": "Downloading"})
            mtime = last_modified(response.header("Last-Modified"))
        await self._output.text("\n")
        size = os.fstat(file.fileno()).st_size
        tree = Tree(file)
        tree.entries[name] = Entry(name, stat.S_IFREG | 0o600, size=size, mtime=mtime)
        return tree, name

    async def context(self, url: str) -> Fetched:
        """What `remote` names: a tar, compressed or not, or the text of a Dockerfile.

        Raises:
            ApiError: with its reason, in dockerd's words.
        """
        address = _address(url)
        line = {"status": address.shown, "id": "Downloading context"}
        try:
            async with self._get(address) as response:
                told = response.header("Content-Type")
                if told not in _UNTOLD and _CONTEXT.search(told) is None:
                    raise _undetected(address, f'unsupported Content-Type "{told[:200]}"')
                packed = is_packed(response.header(_ENCODING))
                length = 0 if packed else response.length or 0
                if _TEXT in told and length > MAX_DOCKERFILE:
                    raise bad_parameter(f"the Dockerfile has more than {MAX_DOCKERFILE} bytes")
                file = await self._put_aside(response, address, line)
        except _Failed as error:
            message = f"error downloading remote context {address.shown}: {error.message}"
            raise ApiError(error.status, message) from error
        try:
            head = os.pread(file.fileno(), 512, 0)
            if not head:
                raise _undetected(address, "empty response")
            if _TEXT in told or (told in _UNTOLD and _is_text(head)):
                content = os.pread(file.fileno(), MAX_DOCKERFILE + 1, 0)
                file.close()
                return Fetched(None, content)
            return Fetched(await in_thread(tree_of, file, self._spool, "the build context"))
        except BaseException:
            file.close()
            raise

    @asynccontextmanager
    async def _get(self, address: Address) -> AsyncIterator[Response]:
        """Open what a URL sends; its failures, until the end, are ours to tell."""
        transport = await in_thread(self._transport)
        try:
            async with asyncio.timeout(LONGEST_SECONDS) as patience:
                async with transport.get(
                    address.url,
                    verify=True,
                    headers={},
                    authorization=address.authorization,
                ) as response:
                    if response.status >= 400:
                        raise await _refusal(response, address)
                    yield response
        except VicError as error:
            raise _of_the_way(error) from error
        except TimeoutError as error:
            if not patience.expired():
                raise
            text = f'Get "{address.shown}": context deadline exceeded'
            raise _Failed(500, f"{text} ({LONGEST_SECONDS:.0f} s)") from error
        finally:
            await transport.close()

    def _transport(self) -> Transport:
        return Transport((), self._web.proxies, agent=_AGENT, guard=guard_of("builds"))

    async def _put_aside(
        self, response: Response, address: Address, line: dict[str, Any]
    ) -> IO[bytes]:
        encoding = response.header(_ENCODING)
        try:
            check_encoding(encoding)
            async with (
                aclosing(self._told(response, line)) as sent,
                aclosing(unpacked(sent, encoding)) as pieces,
            ):
                file = await put_aside(pieces, self._spool, address.shown[:300])
        except BadEncoding as error:
            raise _Failed(500, f'Get "{address.shown}": {error}') from error
        try:
            await self._output.line({})  # by which the docker CLI leaves the line of the bar
        except BaseException:
            file.close()
            raise
        return file

    async def _told(self, response: Response, line: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        total = response.length or 0
        step = max(total // 100, _TOLD_BYTES)
        current = told = 0
        async for piece in response.chunks():
            current += len(piece)
            if current - told >= step:
                told = current
                await self._output.line(_progress(line, current, total))
            yield piece
        await self._output.line(_progress(line, current, total))


class _Failed(ApiError):
    """A server couldn't be asked, or refused."""


def _address(url: str) -> Address:
    address = address_of(url)
    if address is None:
        raise bad_parameter(f"parse {url[:200]!r}: not the URL of a web server")
    return address


def _progress(line: dict[str, Any], current: int, total: int) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {"current": current}
    return {**line, "progressDetail": detail, "progress": progress_bar(current, total)}


async def _refusal(response: Response, address: Address) -> ApiError:
    body = bytearray()
    async for piece in response.chunks():
        body += piece
        if len(body) >= _TOLD_OF_FAILURE:
            break
    said = bytes(body[:_TOLD_OF_FAILURE]).decode("utf-8", "replace").strip()
    status = f"{response.status} {response.reason}".strip()
    return _Failed(
        response.status if response.status in _OUTRIGHT else 500,
        f"failed to GET {address.shown} with status {status}: {said}",
    )


def _of_the_way(error: VicError) -> ApiError:
    status = 500
    if isinstance(error, HostNotFound):
        status = 404
    elif isinstance(error, AddressRefused):
        status = 403
    elif not isinstance(error, ServerUnavailable):
        raise error
    return _Failed(status, error.message)


def _undetected(address: Address, why: str) -> ApiError:
    return bad_parameter(f"error detecting content type for remote {address.shown}: {why}")


def _is_text(head: bytes) -> bool:
    """Whether a file that begins so is a Dockerfile's text; tars and all compressed ones aren't.

    Source: the WHATWG's MIME sniffing, "binary data byte".
    """
    binary = {*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)}
    return not binary.intersection(head)
