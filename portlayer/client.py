"""Channels to other facets: mTLS, deadlines, traces, turns, and errors as domain errors."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from portlayer.errors import from_rpc_error
from portlayer.fencing import turn_metadata
from portlayer.identity import Credentials, Role, server_name
from portlayer.server import MAX_MESSAGE_BYTES
from portlayer.telemetry import inject

# A peer that is being restarted is back within this; its callers needn't notice.
RESTART_SECONDS = 3.0
# Every server of ours answers it, be it that the caller may not ask.
_HEALTH = "/grpc.health.v1.Health/Check"
# For unary calls whose caller named no deadline.
DEFAULT_TIMEOUT = 60.0

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A restarted service is back within a second or two; its callers shouldn't wait for a minute.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name it is how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

Metadata = Sequence[tuple[str, str | bytes]]


class Stream:
    """A call that answers with a stream, and ends when a loop over its answers is left.

    gRPC's own goes on until its channel is closed, though nobody has it any more: what the peer
    sends is taken in and kept, and each message keeps the 8 KiB that it was read with.
    """

    def __init__(self, call: Any) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        """Give the answers, once."""
        try:
            async for response in self._call:
                yield response
        finally:
            self._call.cancel()

    def __getattr__(self, name: str) -> Any:
        """Return what gRPC's call has besides."""
        return getattr(self._call, name)


class FacetChannel(grpc.aio.Channel):
    """A channel whose calls carry the trace, and whose unary calls have deadlines.

    Unary calls raise :class:`~portlayer.errors.VicError`; for streams read within
    :func:`~portlayer.errors.domain_errors`. It connects on first use and reconnects by itself; a
    unary call that finds no connection waits a moment for the peer's restart.

    It wraps a channel rather than intercept its calls: gRPC's own interceptors cost each call tasks
    of their own, and leave some of them behind where a stream is cancelled.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a unary call; awaiting its call returns or raises."""
        inner = self._channel.unary_unary(method, *args, **kwargs)

        async def call(request: Any, **options: Any) -> Any:
            options["metadata"] = _traced(options.get("metadata"))
            if options.get("timeout") is None:
                options["timeout"] = DEFAULT_TIMEOUT
            try:
                try:
                    return await inner(request, **options)
                except grpc.aio.AioRpcError as error:
                    if not _never_sent(error) or not await self._back():
                        raise
                return await inner(request, **options)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a call that answers with a stream; see :class:`Stream`."""
        inner = _traced_stream(self._channel.unary_stream(method, *args, **kwargs))
        return lambda *request, **options: Stream(inner(*request, **options))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a call that takes a stream."""
        return _traced_stream(self._channel.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the callable of a call with streams both ways; see :class:`Stream`."""
        inner = _traced_stream(self._channel.stream_stream(method, *args, **kwargs))
        return lambda *request, **options: Stream(inner(*request, **options))

    async def _back(self) -> bool:
        """Wait a short time for the peer to come back; tell whether it did.

        By a call, which any answer to is as good as another: a wait for the channel's state that
        is given up goes on in gRPC's threads, and its end finds the loop of a command closed.
        """
        try:
            answer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
            answer = self._channel.unary_unary(_HEALTH)
            await answer(b"", timeout=RESTART_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return self._channel.get_state() is grpc.ChannelConnectivity.READY
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True

    async def __aenter__(self) -> Self:
        """Open the channel."""
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close it; calls in hand are cancelled."""
        await self._channel.close()

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls in hand have so many seconds to end."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connection."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return when the state is another one."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return when there is a connection."""
        await self._channel.channel_ready()


def _traced(metadata: Metadata | None) -> Metadata:
    carrier: dict[str, str] = {}
    inject(carrier)
    return (*(metadata or ()), *carrier.items(), *turn_metadata())


def _traced_stream(inner: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return inner(*args, **{**options, "metadata": _traced(options.get("metadata"))})

    return call


def _never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a call failed before anything of it left: there was no connection."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(
        "failed to connect"
    )


def _once_more(methods: Sequence[str]) -> str:
    """Return the service configuration by which these are called a second time."""
    named = [method.split("/") for method in methods]
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.05s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [{"service": service, "method": method} for service, method in named]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})


def open_channel(
    target: str,
    role: Role,
    instance_id: str,
    credentials: Credentials,
    *,
    repeatable: Sequence[str] = (),
) -> FacetChannel:
    """Return a channel to the service that plays ``role``; close it at the end.

    ``repeatable`` methods ("package.Service/Method") are called once more where the one who was
    called is UNAVAILABLE, be it that its connection ends before it has answered: to do them twice
    must be as good as once. Source: gRPC's proposal A6, client retries.
    """
    options = [*_OPTIONS, ("grpc.ssl_target_name_override", server_name(role, instance_id))]
    if repeatable:
        options.append(("grpc.service_config", _once_more(repeatable)))
    return FacetChannel(grpc.aio.secure_channel(target, credentials.channel(), options=options))
