"""Calls that answer with a stream end when nobody reads them any more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from portlayer.client import open_channel
from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import FacetServer, rpc_names
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

SERVICE = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]
ACCESS: Access = {name: frozenset({Role.GATEWAY}) for name in rpc_names(SERVICE)}


class Endless(exec_pb2_grpc.ExecServiceServicer):
    """Tells two events, then nothing, and remembers that a watcher has gone."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def WatchEvents(
        self, request: exec_pb2.WatchEventsRequest, context: Any
    ) -> AsyncIterator[exec_pb2.WatchEventsResponse]:
        try:
            yield exec_pb2.WatchEventsResponse()
            yield exec_pb2.WatchEventsResponse()
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def returns(channel: grpc.aio.Channel) -> None:
    """Leave a stream as who has found what it looked for."""
    events: exec_pb2_grpc.ExecServiceAsyncStub = exec_pb2_grpc.ExecServiceStub(channel)
    async for _ in events.WatchEvents(exec_pb2.WatchEventsRequest()):
        return


async def fails(channel: grpc.aio.Channel) -> None:
    """Leave a stream as who can't take in what it is told."""
    events: exec_pb2_grpc.ExecServiceAsyncStub = exec_pb2_grpc.ExecServiceStub(channel)
    with pytest.raises(ValueError, match="not taken in"):
        async for _ in events.WatchEvents(exec_pb2.WatchEventsRequest()):
            raise ValueError("not taken in")


@pytest.mark.parametrize("leave", [returns, fails])
async def test_a_stream_that_is_left_ends(
    authority: TestAuthority, tmp_path: Path, leave: Callable[[grpc.aio.Channel], Awaitable[None]]
) -> None:
    server = FacetServer(authority.issue(Role.EXEC), INSTANCE, ACCESS, [SERVICE])
    endless = Endless()
    exec_pb2_grpc.add_ExecServiceServicer_to_server(endless, server.server)
    address = f"unix:{tmp_path}/exec.sock"
    await server.start([address])
    async with open_channel(address, Role.EXEC, INSTANCE, authority.issue(Role.GATEWAY)) as channel:
        await leave(channel)
        async with asyncio.timeout(60):
            await endless.left.wait()
    await server.stop()
