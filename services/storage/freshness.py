"""Looking at the image store anew where others have changed it, before a call is answered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from services.storage.image_store import ImageStore

log = logging.getLogger("vic.storage.images")


class FreshStore(grpc.aio.ServerInterceptor):
    """Has every call see what others that share the store have done until it came."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Look, and go on. Where nobody else changes the store it costs one read of 8 bytes."""
        try:
            await self._store.refresh()
        except OSError as error:
            # The call says it better, if it needs what can't be read.
            log.error("the image store can't be looked at: %s", error)
        return await continuation(handler_call_details)
