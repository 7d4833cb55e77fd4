"""Images made of a layer: of a container's changes, or of a tar that is at hand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from vic.interaction.v1.interaction_pb2 import GetLayerRequest
from vic.storage.v1.image_pb2 import CommitRequest, CommitStart

from gateway.facets import Facets, read
from portlayer.errors import VicError, domain_errors


async def commit_container(facets: Facets, start: CommitStart, *, freeze: bool) -> str:
    """Make an image of what a container (`start.container_id`) has changed; return its ID.

    Raises what reading the layer raises, and what storage refuses.
    """
    layer = facets.interaction.GetLayer(
        GetLayerRequest(container_id=start.container_id, freeze=freeze)
    )
    try:
        messages = read(layer)
        await anext(messages, None)  # why there is no layer is told before an image is begun

        async def pieces() -> AsyncGenerator[bytes, None]:
            async for message in messages:
                yield message.data

        return await commit(facets, start, pieces())
    finally:
        # Whoever reads it at that moment, also for an image that was refused, finds its end.
        layer.cancel()


async def commit(facets: Facets, start: CommitStart, layer: AsyncGenerator[bytes, None]) -> str:
    """Have storage make an image of a layer; return its ID. Raises what the layer raises, too."""
    failure: Exception | None = None

    async def upload() -> AsyncIterator[CommitRequest]:
        nonlocal failure
        yield CommitRequest(start=start)
        try:
            async with aclosing(layer):
                async for piece in layer:
                    yield CommitRequest(data=piece)
            yield CommitRequest(complete=True)
        except Exception as error:
            failure = error
            raise  # which cancels the call: what has come isn't all

    try:
        # As long as the VM reads and storage compiles.
        with domain_errors():
            return (await facets.images.Commit(upload())).image_id
    except (VicError, asyncio.CancelledError):
        task = asyncio.current_task()
        if failure is not None and task is not None and not task.cancelling():
            raise failure from None
        raise
