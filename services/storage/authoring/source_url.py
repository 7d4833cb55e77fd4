"""A root file system from a web server, for `docker import URL`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from portlayer.errors import InvalidArgument, NotFound
from portlayer.threads import in_thread
from portlayer.web.addresses import web_address
from portlayer.web.transport import Response, Transport
from services.storage.imagec.errors import RegistryUnavailable
from services.storage.imagec.progress import Progress, Report, Status

NewTransport = Callable[[], Transport]
"""Makes an HTTP client for one import, in a thread: what may be reached is looked up anew."""


def source_address(text: str) -> str:
    """The URL that a source means: without a scheme it is a host's, as with dockerd.

    Raises:
        InvalidArgument: it isn't one of http or https.
    """
    url = text if "://" in text else f"http://{text}"
    if web_address(url) is None:
        raise InvalidArgument(f"invalid source to import from: {text[:200]!r}")
    return url


@asynccontextmanager
async def downloaded(
    new_transport: NewTransport, url: str, report: Report
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open what a URL sends; its bytes are reported as they come.

    Raises:
        NotFound, RegistryUnavailable, HostNotFound, AddressRefused.
    """
    shown = urlsplit(url)._replace(query="", fragment="").geturl()
    transport = await in_thread(new_transport)
    try:
        async with transport.get(url, verify=True, headers={}, authorization=None) as response:
            if response.status != 200:
                status = f"{response.status} {response.reason}"
                kind = NotFound if response.status == 404 else RegistryUnavailable
                raise kind(f'failed to fetch "{shown}": {status}')
            report(Progress("", Status.DOWNLOADING_FROM, text=shown))
            yield _told(response, report)
    finally:
        await transport.close()


async def _told(response: Response, report: Report) -> AsyncIterator[bytes]:
    total = response.length or 0
    current = 0
    async for chunk in response.chunks():
        current += len(chunk)
        report(Progress("", Status.IMPORTING, current, total))
        yield chunk
