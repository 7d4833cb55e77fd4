"""Events that the gateway itself knows of: that somebody attached, resized, looked at processes.

What becomes of the processes that clients run interaction tells, whoever asked for them.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vic.exec.v1.exec_pb2 import EventKind, RecordEventRequest

from gateway.facets import Facets
from portlayer.errors import VicError

log = logging.getLogger("vic.api.tellings")

_SECONDS = 10.0


async def tell(facets: Facets, container_id: str, kind: EventKind, **attributes: str) -> None:
    """Put an event into the history. What it tells of has happened, so that nothing is raised."""
    request = RecordEventRequest(
        reference=container_id,
        request_id=secrets.token_hex(16),
        kind=kind,
        attributes=attributes,
    )
    try:
        await facets.exec.RecordEvent(request, timeout=_SECONDS)
    except VicError as error:
        log.info("an event was not recorded: %s", error.message)


@asynccontextmanager
async def told(
    facets: Facets, container_id: str, kind: EventKind, **attributes: str
) -> AsyncIterator[None]:
    """Have an event recorded while something goes on that need not wait for that."""
    telling = asyncio.ensure_future(tell(facets, container_id, kind, **attributes))
    try:
        yield
    finally:
        await telling
