"""Servers of one role at one port, and who tells whether one of them serves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic_settings import CliApp
from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from portlayer.client import open_channel
from portlayer.errors import Unavailable
from portlayer.identity import Credentials, Role
from portlayer.interceptors import Access
from portlayer.probe import own_address, serves
from portlayer.server import FacetServer, rpc_names
from portlayer.settings import FacetSettings
from tests.ports import free_port
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

SERVICE = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]
ACCESS = {name: frozenset({Role.GATEWAY}) for name in rpc_names(SERVICE)}


class Servicer(exec_pb2_grpc.ExecServiceServicer):
    """Says who it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def Get(self, request: exec_pb2.GetRequest, context: object) -> exec_pb2.GetResponse:
        return exec_pb2.GetResponse(container={"id": self._name})


async def serve(credentials: Credentials, name: str, address: str, *, shared: bool) -> FacetServer:
    """Start a server; it says its name."""
    access: Access = ACCESS
    server = FacetServer(credentials, INSTANCE, access, [SERVICE], share_ports=shared)
    exec_pb2_grpc.add_ExecServiceServicer_to_server(Servicer(name), server.server)
    await server.start([address])
    return server


async def asked(address: str, credentials: Credentials) -> str:
    """Ask whoever gets the connection for its name."""
    async with open_channel(address, Role.EXEC, INSTANCE, credentials) as channel:
        stub: exec_pb2_grpc.ExecServiceAsyncStub = exec_pb2_grpc.ExecServiceStub(channel)
        return (await stub.Get(exec_pb2.GetRequest(), timeout=60)).container.id


async def test_replicas_share_a_port_and_the_work_of_one_that_ends(
    authority: TestAuthority,
) -> None:
    credentials, caller = authority.issue(Role.EXEC), authority.issue(Role.GATEWAY)
    address = f"127.0.0.1:{free_port()}"
    one = await serve(credentials, "one", address, shared=True)
    other = await serve(credentials, "other", address, shared=True)
    # A hundred connections that all went to one would be no coincidence.
    assert {await asked(address, caller) for _ in range(100)} == {"one", "other"}
    with pytest.raises(OSError, match="cannot listen on"):
        await serve(credentials, "third", address, shared=False)
    await one.stop()
    assert {await asked(address, caller) for _ in range(10)} == {"other"}
    await other.stop()


@asynccontextmanager
async def relayed(address: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Pass on to a server; once the event is set, what comes next ends its connection unsent."""
    host, _, port = address.rpartition(":")
    cut = asyncio.Event()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if cut.is_set():
                break
            writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, sending = await asyncio.open_connection(host, port)
        back = asyncio.create_task(pass_on(upstream, writer))
        await pass_on(reader, sending)
        writer.close()
        cut.clear()
        await asyncio.wait([back])

    relay = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with relay:
        yield f"127.0.0.1:{relay.sockets[0].getsockname()[1]}", cut


@pytest.mark.parametrize("repeatable", [True, False])
async def test_what_met_a_connection_that_had_ended_is_sent_again_where_twice_is_as_good_as_once(
    authority: TestAuthority, repeatable: bool
) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = await serve(authority.issue(Role.EXEC), "one", address, shared=False)
    caller = authority.issue(Role.GATEWAY)
    names = [f"{SERVICE.full_name}/Get"] if repeatable else []
    async with (
        relayed(address) as (place, cut),
        open_channel(place, Role.EXEC, INSTANCE, caller, repeatable=names) as channel,
    ):
        stub: exec_pb2_grpc.ExecServiceAsyncStub = exec_pb2_grpc.ExecServiceStub(channel)
        await stub.Get(exec_pb2.GetRequest(), timeout=60)
        cut.set()
        if repeatable:
            assert (await stub.Get(exec_pb2.GetRequest(), timeout=60)).container.id == "one"
        else:
            with pytest.raises(Unavailable):
                await stub.Get(exec_pb2.GetRequest(), timeout=60)
    await server.stop()


async def test_a_probe_asks_the_process_that_it_is_of(
    authority: TestAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = authority.issue(Role.EXEC)
    directory = tmp_path / "pki" / "exec"
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(credentials.ca)
    (directory / "tls.crt").write_bytes(credentials.certificate)
    (directory / "tls.key").write_bytes(credentials.key)
    (tmp_path / "instance.json").write_text(json.dumps({"instance_id": INSTANCE, "slot": 0}))
    monkeypatch.setenv("VIC_DATA_DIR", str(tmp_path))
    address = f"unix:{tmp_path}/own.sock"
    monkeypatch.setenv("VIC_LISTEN", json.dumps(["127.0.0.1:1", address]))
    settings = CliApp.run(FacetSettings, cli_args=[])
    assert own_address(settings, Role.EXEC) == address
    assert not await serves(settings, Role.EXEC)
    server = await serve(credentials, "one", address, shared=True)
    assert await serves(settings, Role.EXEC)
    await server.stop()
