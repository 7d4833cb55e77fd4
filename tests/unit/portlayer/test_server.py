"""What every facet's server promises: identity, roles, typed errors, deadlines, health."""

import asyncio
import errno
import gc
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vic.exec.v1 import exec_pb2, exec_pb2_grpc
from vic.storage.v1 import image_pb2, image_pb2_grpc

from portlayer import client as client_module
from portlayer import server as server_module
from portlayer.client import open_channel
from portlayer.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    NotImplementedYet,
    PermissionDenied,
    Reason,
    Unavailable,
    VicError,
    domain_errors,
)
from portlayer.identity import Role, current_peer
from portlayer.interceptors import Access
from portlayer.server import FacetServer, rpc_names
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

SERVICE = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]
ACCESS: Access = {name: frozenset({Role.GATEWAY}) for name in rpc_names(SERVICE)}


class Servicer(exec_pb2_grpc.ExecServiceServicer):
    """Answers as the test asks through the request."""

    async def Get(self, request: exec_pb2.GetRequest, context: Any) -> exec_pb2.GetResponse:
        match request.reference:
            case "missing":
                raise NotFound(
                    "No such container: missing", Reason.CONTAINER_NOT_FOUND, reference="missing"
                )
            case "bug":
                raise RuntimeError("secret detail")
            case "disk":
                raise OSError(errno.EROFS, "secret detail", "/secret/place")
            case "store":
                raise OSError(errno.EIO, "secret detail", "/secret/place")
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._refuse())
            case "slow":
                await asyncio.Event().wait()
        return exec_pb2.GetResponse(container={"id": current_peer.get().role.value})

    async def _refuse(self) -> None:
        raise FailedPrecondition("cannot pause a container that is created", state="created")

    async def Wait(
        self, request: exec_pb2.WaitRequest, context: Any
    ) -> AsyncIterator[exec_pb2.WaitResponse]:
        yield exec_pb2.WaitResponse(waiting={"container_id": request.reference})
        raise NotFound("gone", Reason.CONTAINER_NOT_FOUND)


@pytest.fixture
async def address(authority: TestAuthority, tmp_path: Path) -> AsyncIterator[str]:
    """A running server's address."""
    known = {errno.EIO: Unavailable("the store fails", Reason.STORE_FAILED)}
    server = FacetServer(
        authority.issue(Role.EXEC),
        INSTANCE,
        ACCESS,
        [SERVICE],
        explain=lambda error: known.get(error.errno or 0),
    )
    exec_pb2_grpc.add_ExecServiceServicer_to_server(Servicer(), server.server)
    address = f"unix:{tmp_path}/exec.sock"
    await server.start([address])
    yield address
    await server.stop()


@pytest.fixture
async def channel(authority: TestAuthority, address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with the gateway's certificate."""
    async with open_channel(address, Role.EXEC, INSTANCE, authority.issue(Role.GATEWAY)) as channel:
        yield channel


def stub(channel: grpc.aio.Channel) -> "exec_pb2_grpc.ExecServiceAsyncStub":
    """Return the service's stub."""
    return exec_pb2_grpc.ExecServiceStub(channel)


async def test_the_peer_of_a_call_is_known(channel: grpc.aio.Channel) -> None:
    response = await stub(channel).Get(exec_pb2.GetRequest(reference="x"))
    assert response.container.id == "gateway"


async def test_a_domain_error_arrives_as_itself(channel: grpc.aio.Channel) -> None:
    with pytest.raises(NotFound) as caught:
        await stub(channel).Get(exec_pb2.GetRequest(reference="missing"))
    assert caught.value.message == "No such container: missing"
    assert caught.value.reason is Reason.CONTAINER_NOT_FOUND
    assert caught.value.metadata == {"reference": "missing"}


async def test_an_error_in_a_task_group_arrives_as_itself(channel: grpc.aio.Channel) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await stub(channel).Get(exec_pb2.GetRequest(reference="group"))
    assert caught.value.metadata == {"state": "created"}


async def test_a_fault_of_ours_tells_nothing(channel: grpc.aio.Channel) -> None:
    with pytest.raises(Internal) as caught:
        await stub(channel).Get(exec_pb2.GetRequest(reference="bug"))
    assert "secret" not in caught.value.message


async def test_a_disk_that_fails_is_told_without_its_place(channel: grpc.aio.Channel) -> None:
    with pytest.raises(Internal, match="internal error: read-only file system; ") as caught:
        await stub(channel).Get(exec_pb2.GetRequest(reference="disk"))
    assert "secret" not in caught.value.message


async def test_what_a_facet_knows_of_its_disks_is_told(channel: grpc.aio.Channel) -> None:
    with pytest.raises(Unavailable, match="the store fails") as caught:
        await stub(channel).Get(exec_pb2.GetRequest(reference="store"))
    assert caught.value.reason is Reason.STORE_FAILED


async def test_a_method_that_is_missing_is_named(channel: grpc.aio.Channel) -> None:
    with pytest.raises(NotImplementedYet, match="ExecService/Prune is not implemented"):
        await stub(channel).Prune(exec_pb2.PruneRequest())


async def test_a_deadline_ends_a_call(channel: grpc.aio.Channel) -> None:
    with pytest.raises(DeadlineExceeded):
        await stub(channel).Get(exec_pb2.GetRequest(reference="slow"), timeout=0.2)


async def test_an_error_in_a_stream_arrives_as_itself(channel: grpc.aio.Channel) -> None:
    responses = []
    with pytest.raises(NotFound) as caught, domain_errors():
        async for response in stub(channel).Wait(exec_pb2.WaitRequest(reference="x")):
            responses.append(response)
    assert caught.value.reason is Reason.CONTAINER_NOT_FOUND
    assert [r.waiting.container_id for r in responses] == ["x"]


class Refusing(image_pb2_grpc.ImageServiceServicer):
    """Takes nothing of what is sent to it."""

    async def Import(
        self, request_iterator: AsyncIterator[image_pb2.ImportRequest], context: Any
    ) -> AsyncIterator[image_pb2.ImportResponse]:
        raise NotFound("at once", Reason.IMAGE_NOT_FOUND)
        yield


async def test_who_is_refused_while_sending_hears_why(
    authority: TestAuthority, tmp_path: Path
) -> None:
    service = image_pb2.DESCRIPTOR.services_by_name["ImageService"]
    access: Access = {name: frozenset({Role.GATEWAY}) for name in rpc_names(service)}
    server = FacetServer(authority.issue(Role.STORAGE), INSTANCE, access, [service])
    image_pb2_grpc.add_ImageServiceServicer_to_server(Refusing(), server.server)
    address = f"unix:{tmp_path}/storage.sock"
    await server.start([address])
    credentials = authority.issue(Role.GATEWAY)

    async def imports() -> AsyncIterator[image_pb2.ImportRequest]:
        for _ in range(64):
            yield image_pb2.ImportRequest(data=bytes(65536))

    async with open_channel(address, Role.STORAGE, INSTANCE, credentials) as channel:
        images: image_pb2_grpc.ImageServiceAsyncStub = image_pb2_grpc.ImageServiceStub(channel)
        for _ in range(20):
            with pytest.raises(NotFound, match="at once"), domain_errors():
                async for _answer in images.Import(imports()):
                    raise AssertionError
    await server.stop()


@pytest.mark.parametrize("role", [Role.TETHER, Role.NETWORK, Role.VIEWER])
async def test_a_role_that_is_not_listed_is_refused(
    authority: TestAuthority, address: str, role: Role
) -> None:
    async with open_channel(address, Role.EXEC, INSTANCE, authority.issue(role)) as channel:
        with pytest.raises(PermissionDenied):
            await stub(channel).Get(exec_pb2.GetRequest(reference="x"))


async def test_another_instance_is_refused(authority: TestAuthority, address: str) -> None:
    other = authority.issue(Role.GATEWAY, instance="deadbeef")
    async with open_channel(address, Role.EXEC, INSTANCE, other) as channel:
        with pytest.raises(PermissionDenied):
            await stub(channel).Get(exec_pb2.GetRequest(reference="x"))


async def test_another_authority_is_refused(address: str) -> None:
    foreign = TestAuthority().issue(Role.GATEWAY)
    async with open_channel(address, Role.EXEC, INSTANCE, foreign) as channel:
        with pytest.raises(Unavailable):
            await stub(channel).Get(exec_pb2.GetRequest(reference="x"), timeout=60)


async def test_a_server_of_another_role_is_refused(authority: TestAuthority, address: str) -> None:
    credentials = authority.issue(Role.GATEWAY)
    async with open_channel(address, Role.STORAGE, INSTANCE, credentials) as channel:
        with pytest.raises(VicError):
            await stub(channel).Get(exec_pb2.GetRequest(reference="x"), timeout=60)


async def test_health_is_served(channel: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    response = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_call_outlasts_a_restart_of_its_server(
    authority: TestAuthority, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/exec.sock"

    async def serve() -> FacetServer:
        server = FacetServer(authority.issue(Role.EXEC), INSTANCE, ACCESS, [SERVICE])
        exec_pb2_grpc.add_ExecServiceServicer_to_server(Servicer(), server.server)
        await server.start([address])
        return server

    credentials = authority.issue(Role.GATEWAY)
    async with open_channel(address, Role.EXEC, INSTANCE, credentials) as channel:
        first = await serve()
        await stub(channel).Get(exec_pb2.GetRequest(reference="x"))
        await first.stop()
        call = asyncio.ensure_future(stub(channel).Get(exec_pb2.GetRequest(reference="x")))
        await asyncio.wait({call}, timeout=0.3)
        second = await serve()
        assert (await call).container.id == "gateway"
        await second.stop()


def test_a_call_that_finds_nobody_leaves_nothing_for_the_next_loop(
    authority: TestAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a command does that asks several services in turn, each in a loop of its own.
    monkeypatch.setattr(client_module, "RESTART_SECONDS", 0.05)
    credentials = authority.issue(Role.GATEWAY)
    said: list[dict[str, Any]] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        target = f"unix:{tmp_path}/nobody.sock"
        async with open_channel(target, Role.EXEC, INSTANCE, credentials) as channel:
            await stub(channel).Get(exec_pb2.GetRequest(reference="x"))

    for _ in range(10):
        with pytest.raises(Unavailable):
            asyncio.run(ask())
    assert said == []


async def test_a_stale_socket_is_replaced(authority: TestAuthority, tmp_path: Path) -> None:
    path = tmp_path / "exec.sock"
    path.touch()
    server = FacetServer(authority.issue(Role.EXEC), INSTANCE, ACCESS, [SERVICE])
    await server.start([f"unix:{path}"])
    assert path.stat().st_mode & 0o777 == 0o660
    await server.stop()


async def test_a_socket_that_somebody_serves_is_left_alone(
    authority: TestAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IN_USE_SECONDS", 0.0)
    path = tmp_path / "exec.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        server = FacetServer(authority.issue(Role.EXEC), INSTANCE, ACCESS, [SERVICE])
        with pytest.raises(OSError, match="another process serves there"):
            await server.start([f"unix:{path}"])
        assert path.is_socket()
    # Nobody listens there any more.
    await server.start([f"unix:{path}"])
    await server.stop()


async def test_a_cancelled_stream_leaves_no_task(channel: grpc.aio.Channel) -> None:
    before = asyncio.all_tasks()
    for _ in range(20):
        call = stub(channel).Wait(exec_pb2.WaitRequest(reference="x"))
        await call.read()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    left = asyncio.all_tasks() - before
    async with asyncio.timeout(60):
        # The server in this process always has one task that waits for the next call.
        while len(left) > 1:
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)


class Following(image_pb2_grpc.ImageServiceServicer):
    """Says one thing and goes on without an end."""

    def __init__(self) -> None:
        self.going = 0
        self.ended = asyncio.Event()

    async def Load(
        self, request_iterator: AsyncIterator[image_pb2.LoadRequest], context: Any
    ) -> AsyncIterator[image_pb2.LoadResponse]:
        self.going += 1
        try:
            while True:
                yield image_pb2.LoadResponse()
                await asyncio.sleep(0)
        finally:
            self.going -= 1
            self.ended.set()


async def test_a_stream_that_its_client_leaves_is_ended_at_once_wherever_it_is(
    authority: TestAuthority, tmp_path: Path
) -> None:
    service = image_pb2.DESCRIPTOR.services_by_name["ImageService"]
    access: Access = {name: frozenset({Role.GATEWAY}) for name in rpc_names(service)}
    server = FacetServer(authority.issue(Role.STORAGE), INSTANCE, access, [service])
    servicer = Following()
    image_pb2_grpc.add_ImageServiceServicer_to_server(servicer, server.server)
    address = f"unix:{tmp_path}/storage.sock"
    await server.start([address])
    credentials = authority.issue(Role.GATEWAY)
    # What is cleaned up when somebody happens to collect garbage is cleaned up too late.
    gc.collect()
    gc.disable()
    try:
        async with open_channel(address, Role.STORAGE, INSTANCE, credentials) as channel:
            images: image_pb2_grpc.ImageServiceAsyncStub = image_pb2_grpc.ImageServiceStub(channel)
            for _ in range(50):
                call = images.Load(iter([image_pb2.LoadRequest()]))
                await call.read()
                call.cancel()
            async with asyncio.timeout(60):
                while servicer.going:
                    servicer.ended.clear()
                    await servicer.ended.wait()
    finally:
        gc.enable()
    await server.stop()
