"""Calls about a container that another replica has: carried there, message by message.

Every method of the service is wrapped by what reads from its first message whose container it is
about. What is ours is served here, with nothing in between.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from portlayer.client import FacetChannel
from portlayer.errors import PermissionDenied, Unavailable, domain_errors
from portlayer.identity import Peer, Role, current_peer
from services.interaction.race import until_first
from services.interaction.replicas import Replicas

Context = grpc.aio.ServicerContext[Any, Any]

# In a carried call's metadata; a tether's names its container, since the certificate doesn't.
_CARRIED: Final = "vic-carried"
_TETHER: Final = "vic-tether"

# Of the facet as a whole, or of what a replica has, and answered by any.
_EVERYBODYS: Final = {"ListRegistered", "Watch", "Acknowledge", "WatchStats"}


def routed(servicer: object, service: ServiceDescriptor, replicas: Replicas) -> Any:
    """Return a servicer that answers what is this replica's, and carries the rest."""
    methods = {
        method.name: getattr(servicer, method.name)
        if method.name in _EVERYBODYS
        else _Route(method, getattr(servicer, method.name), replicas).call
        for method in service.methods
    }
    return SimpleNamespace(**methods)


def received(servicer: object, service: ServiceDescriptor) -> Any:
    """Return a servicer for tethers whose streams other replicas carry here."""

    def wrap(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            container_id = _metadata(context).get(_TETHER)
            if container_id is None:
                raise PermissionDenied("a carried stream needs its tether's container")
            carrier = current_peer.get()
            current_peer.set(Peer(carrier.instance_id, Role.TETHER, container_id))
            return await inner(request, context)

        return call

    return SimpleNamespace(**{m.name: wrap(getattr(servicer, m.name)) for m in service.methods})


class _Route:
    """One method: where its calls go."""

    def __init__(
        self,
        method: MethodDescriptor,
        inner: Callable[..., Awaitable[Any]],
        replicas: Replicas,
    ) -> None:
        assert method.containing_service is not None
        self._name = f"/{method.containing_service.full_name}/{method.name}"
        self._inner = inner
        self._replicas = replicas
        self._answer: type[Message] = GetMessageClass(method.output_type)
        self._streams_in = method.client_streaming
        self._streams_out = method.server_streaming

    async def call(self, request: Any, context: Context) -> Any:
        """Serve a call, here or there."""
        if not self._streams_in:
            channel = await self._elsewhere(request, context)
            if channel is None:
                return await self._inner(request, context)
            return await self._carry_one(channel, request, context)
        if current_peer.get().role is Role.TETHER:
            # Known by its certificate, before it has said a word.
            channel = await self._elsewhere(None, context)
            if channel is None:
                return await self._inner(request, context)
            return await self._carry_stream(channel, None, context)
        first = await context.read()
        channel = None if first is grpc.aio.EOF else await self._elsewhere(first, context)
        if channel is None:
            return await self._inner(request, _Begun(context, first))
        return await self._carry_stream(channel, first, context)

    async def _elsewhere(self, message: Any, context: Context) -> FacetChannel | None:
        peer = current_peer.get()
        if peer.role is Role.TETHER:
            channel = await self._replicas.elsewhere_by_tether(peer.subject)
        else:
            names = message.start if self._streams_in else message
            if container_id := getattr(names, "container_id", ""):
                channel = await self._replicas.elsewhere(container_id)
            else:
                exec_id = getattr(names, "exec_id", "")
                channel = await self._replicas.elsewhere_by_exec(exec_id)
        if channel is not None and _CARRIED in _metadata(context):
            raise Unavailable("the container has changed hands")
        return channel

    async def _carry_one(self, channel: FacetChannel, request: Any, context: Context) -> Any:
        serialize, options = _serialized, self._options(context)
        if not self._streams_out:
            method = channel.unary_unary(self._name, serialize, self._answer.FromString)
            return await method(request, **options)
        method = channel.unary_stream(self._name, serialize, self._answer.FromString)
        answers = method(request, **options)
        try:
            await self._answers(answers, context)
        finally:
            answers.cancel()
        return None

    async def _carry_stream(self, channel: FacetChannel, first: Any, context: Context) -> Any:
        """Carry a stream of messages there until the other side has answered it to the end."""
        options = self._options(context)
        if not self._streams_out:
            single = channel.stream_unary(self._name, _serialized, self._answer.FromString)
            with domain_errors():
                return await single(_messages(first, context), **options)
        method = channel.stream_stream(self._name, _serialized, self._answer.FromString)
        call = method(**options)

        async def forth() -> None:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async for message in _messages(first, context):
                    await call.write(message)
                await call.done_writing()
            # When it is over, and how, the answers tell.
            await asyncio.get_running_loop().create_future()

        try:
            await until_first(forth(), self._answers(call, context))
        finally:
            call.cancel()
        return None

    async def _answers(self, call: Any, context: Context) -> None:
        with domain_errors():
            while (answer := await call.read()) is not grpc.aio.EOF:
                await context.write(answer)

    def _options(self, context: Context) -> dict[str, Any]:
        metadata = [(_CARRIED, "1")]
        peer = current_peer.get()
        if peer.role is Role.TETHER:
            metadata.append((_TETHER, peer.subject))
        return {"metadata": metadata, "timeout": context.time_remaining()}


class _Begun:
    """A call's context whose first message was read already."""

    def __init__(self, context: Context, first: Any) -> None:
        self._context = context
        self._first: list[Any] = [first]

    async def read(self) -> Any:
        """Return the next message."""
        return self._first.pop() if self._first else await self._context.read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


async def _messages(first: Any, context: Context) -> AsyncIterator[Any]:
    if first is not None:
        yield first
    while (message := await context.read()) is not grpc.aio.EOF:
        yield message


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _metadata(context: Context) -> dict[str, Any]:
    return dict(context.invocation_metadata() or ())
