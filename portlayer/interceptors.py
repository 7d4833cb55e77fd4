"""The one server interceptor: identity and roles, deadline, trace, errors, access log.

It is one and not five because each layer of interception costs every call some 20 µs in Python.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from opentelemetry.trace import SpanKind, Status, StatusCode, use_span

from portlayer.errors import (
    DETAILS_KEY,
    MAX_MESSAGE,
    DeadlineExceeded,
    Internal,
    NotImplementedYet,
    PermissionDenied,
    Reason,
    VicError,
    from_rpc_error,
    leaf_error,
    status_details,
)
from portlayer.fencing import Fences
from portlayer.identity import Peer, Role, current_peer, peer_of
from portlayer.telemetry import current_span, extract, tracer

log = logging.getLogger("vic.rpc")

# For a unary call whose caller named no deadline, so that nothing hangs for ever.
DEFAULT_DEADLINE = 300.0

# Every authenticated peer of the instance may ask these.
# Of a stream that is refused: how long it is listened to for what was under way, in seconds.
LONGEST_SILENCE = 0.05
LONGEST_HEARING = 1.0
OPEN_PREFIXES = ("/grpc.health.v1.Health/", "/grpc.reflection.")

_DISK_FAULTS = frozenset(
    {
        *(errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOSPC, errno.EDQUOT),
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
    }
)

Context = grpc.aio.ServicerContext[Any, Any]
Access = Mapping[str, frozenset[Role]]
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
Explain = Callable[[OSError], VicError | None]
"""What a facet knows of an error of the file system; None where it is a fault of ours."""


class FacetInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler; see the module.

    ``access`` maps a full method name ("/vic.exec.v1.ExecService/Create") to the roles that may
    call it; a method that is not listed is refused to everybody. ``fences`` knows whose turn is
    over, ``explain`` what an error of the file system is to a caller.
    """

    def __init__(
        self,
        instance_id: str,
        access: Access,
        fences: Fences | None = None,
        explain: Explain | None = None,
    ) -> None:
        self._instance_id = instance_id
        self._access = access
        self._fences = fences or Fences()
        self._explain = explain
        # By method, each with what it wraps: it is the same one at every call.
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler of the called method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._wrap(method, handler))
        return known[1]

    def _wrap(self, method: str, handler: Handler) -> Handler:
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(method, handler.stream_unary, bounded=False),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        assert handler.stream_stream is not None
        return grpc.stream_stream_rpc_method_handler(
            self._stream(method, handler.stream_stream),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _admit(self, method: str, context: Context) -> Peer:
        """Return the caller's identity. Raises Unauthenticated or PermissionDenied."""
        peer = peer_of(context.auth_context())
        if peer.instance_id != self._instance_id:
            raise PermissionDenied(f"the certificate belongs to instance {peer.instance_id}")
        if not method.startswith(OPEN_PREFIXES) and peer.role not in self._access.get(method, ()):
            raise PermissionDenied(f"role {peer.role} may not call {method}")
        if peer.role is Role.EXEC:
            # Nobody else takes turns, or may keep those from acting who do.
            self._fences.admit(context.invocation_metadata() or ())
        current_peer.set(peer)
        return peer

    def _explained(self, error: Exception) -> Exception:
        leaf = leaf_error(error)
        if self._explain is not None and isinstance(leaf, OSError):
            return self._explain(leaf) or error
        return error

    def _unary(
        self, method: str, behavior: Callable[..., Any], *, bounded: bool = True
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            started = time.monotonic()
            parent = extract(context.invocation_metadata() or ())
            with current_span(method, parent, SpanKind.SERVER) as span:
                try:
                    self._admit(method, context)
                    limit = context.time_remaining()
                    if limit is None and bounded:
                        limit = DEFAULT_DEADLINE
                    async with asyncio.timeout(limit):
                        response = await behavior(request, context)
                except Exception as error:  # noqa: BLE001 - the border: every error gets a status
                    span.set_status(Status(StatusCode.ERROR))
                    await _refuse(method, context, self._explained(error), started)
                _log_success(method, started)
                return response

        return call

    def _stream(
        self, method: str, behavior: Callable[..., Any]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            started = time.monotonic()
            parent = extract(context.invocation_metadata() or ())
            span = tracer.start_span(method, parent, SpanKind.SERVER)
            try:
                self._admit(method, context)
                if inspect.isasyncgenfunction(inspect.unwrap(behavior)):
                    responses = behavior(request, context)
                    try:
                        async for response in responses:
                            yield response
                    finally:
                        await responses.aclose()
                else:
                    # Not around a generator, whose caller would have it for its own.
                    with use_span(span, record_exception=False, set_status_on_exception=False):
                        await behavior(request, context)
            except Exception as error:  # noqa: BLE001 - the border: every error gets a status
                span.set_status(Status(StatusCode.ERROR))
                await _hear_out(request)
                await _refuse(method, context, self._explained(error), started)
            finally:
                span.end()
            _log_success(method, started)

        return call


async def _hear_out(request: Any) -> None:
    """Take what a caller that streams is sending already.

    gRPC's client takes a status that comes while it sends for an error of its own (INTERNAL,
    "Internal error from Core"), and its caller never hears of the refusal.
    """
    if not hasattr(request, "__anext__"):
        return
    with suppress(StopAsyncIteration, TimeoutError, grpc.aio.AioRpcError, grpc.aio.UsageError):
        async with asyncio.timeout(LONGEST_HEARING):
            while True:
                async with asyncio.timeout(LONGEST_SILENCE):
                    await anext(request)


def _log_success(method: str, started: float) -> None:
    if log.isEnabledFor(logging.DEBUG):
        milliseconds = round((time.monotonic() - started) * 1000, 1)
        log.debug("served", extra={"method": method, "ms": milliseconds})


def _domain_error(method: str, failure: Exception) -> VicError:
    # Of a TaskGroup's failure the caller can understand the first domain error.
    error = leaf_error(failure)
    if isinstance(error, VicError):
        return error
    if isinstance(error, grpc.aio.AioRpcError):
        return from_rpc_error(error)
    if isinstance(error, NotImplementedError):
        # What the generated base class raises for a method that the facet doesn't have yet.
        return NotImplementedYet(f"{method} is not implemented", Reason.RPC_NOT_IMPLEMENTED)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the deadline passed before the work was done")
    return Internal(f"internal error{_why(error)}; the service's log has the details")


def _why(error: BaseException) -> str:
    """What of an unforeseen error is a disk's doing, which an administrator can mend; no path."""
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        return f": {os.strerror(error.errno).lower()}"
    return ""


async def _refuse(method: str, context: Context, error: Exception, started: float) -> NoReturn:
    """End the call with the status of an error; a fault of ours is logged with its traceback."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    domain = _domain_error(method, error)
    fields = {
        "method": method,
        "reason": domain.reason.value,
        "status": domain.status.name,
        "ms": round((time.monotonic() - started) * 1000, 1),
    }
    if isinstance(domain, Internal):
        log.error("failed", exc_info=error, extra=fields)
    else:
        log.info("refused: %s", domain.message, extra=fields)
    await context.abort(
        domain.status,
        domain.message[:MAX_MESSAGE],
        trailing_metadata=((DETAILS_KEY, status_details(domain)),),
    )
    raise AssertionError("abort returned")
