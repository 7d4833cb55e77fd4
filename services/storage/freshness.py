"""Looking at what is kept anew where others have changed it, before a call is answered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc

log = logging.getLogger("vic.storage")


class Shared(Protocol):
    """What several processes change."""

    async def refresh(self) -> None:
        """Look at the files where another process has changed some. Raises OSError."""


class FreshStore(grpc.aio.ServerInterceptor):
    """Has every call see what others that share the store have done until it came."""

    def __init__(self, *stores: Shared) -> None:
        self._stores = stores

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Look, and go on. Where nobody else changes a store it costs one read of 8 bytes."""
        for store in self._stores:
            try:
                await store.refresh()
            except OSError as error:
                # The call says it better, if it needs what can't be read.
                log.error("what others have changed can't be looked at: %s", error)
        return await continuation(handler_call_details)
