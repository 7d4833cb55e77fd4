"""exec as a process of its own, set up for a vCenter: its issuer is real, the other facets are not.

What exec's callers and the facets beside it do is the same as on the embedded platform: only
what is written in the instance's file differs.
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from pyVmomi import vim
from vic.exec.v1 import exec_pb2_grpc
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, image_pb2, volume_pb2

from installer.pki import Authority
from portlayer.client import open_channel
from portlayer.identity import Credentials, Role, peer_uri, server_name
from portlayer.server import FacetServer, rpc_names
from portlayer.vsphere.identity import container_uuid
from portlayer.vsphere.lookup import find_machine
from portlayer.vsphere.session import VCenter
from tests.integration.vsphere.others import BOOTSTRAP, make_disk, put_bootstrap
from tests.ports import free_port
from tests.unit.exec.fake_facets import FakeFacets
from tests.vcenter import Simulator

ROOT = Path(__file__).resolve().parents[3]
ROLES = (
    *(Role.EXEC, Role.HOSTAGENT, Role.STORAGE, Role.NETWORK, Role.INTERACTION, Role.GATEWAY),
    Role.ADMIN,
)
CALLERS = frozenset({Role.EXEC, Role.GATEWAY})
SERVED = {
    Role.STORAGE: (
        image_pb2.DESCRIPTOR.services_by_name["ImageService"],
        disk_pb2.DESCRIPTOR.services_by_name["DiskService"],
        volume_pb2.DESCRIPTOR.services_by_name["VolumeService"],
    ),
    Role.NETWORK: (network_pb2.DESCRIPTOR.services_by_name["NetworkService"],),
    Role.INTERACTION: (process_pb2.DESCRIPTOR.services_by_name["ProcessService"],),
}


@dataclass
class FacetsBeside(FakeFacets):
    """The other facets, on the wire; the tethers, whose VMs are the vCenter's."""

    vcenter: VCenter = field(kw_only=True)
    instance_id: str = field(kw_only=True)
    events: "asyncio.Queue[process_pb2.ProcessEvent]" = field(default_factory=asyncio.Queue)
    sequence: int = 0
    tether_port: int = 7443

    async def Info(self, request: Any) -> network_pb2.InfoResponse:
        return network_pb2.InfoResponse(
            management_address="100.112.0.1", tether_port=self.tether_port
        )

    def _disk(self, container_id: str) -> disk_pb2.Disk:
        disk = super()._disk(container_id)
        del disk.chain[:]
        disk.chain.append(f"[LocalDS_0] {container_id[:12]}.vmdk")
        return disk

    async def Prepare(self, request: disk_pb2.PrepareRequest) -> disk_pb2.PrepareResponse:
        if request.container_id not in self.disks:
            await make_disk(self.vcenter, f"[LocalDS_0] {request.container_id[:12]}.vmdk")
        return await super().Prepare(request)

    async def Reserve(self, request: Any, **_: Any) -> Any:
        if isinstance(request, volume_pb2.ReserveRequest):
            return await self.volumes.Reserve(request)
        await super().Reserve(request)
        number = len(self.reservations)
        endpoints = self.reservations[request.container_id]
        for index, endpoint in enumerate(endpoints):
            endpoint.mac_address = f"02:42:ac:{index:02x}:{number // 256:02x}:{number % 256:02x}"
            endpoint.ipv4_prefix_length = 20 if endpoint.management else 16
            endpoint.mtu = 1500
            endpoint.port_group = f"DC0_DVPG{index}"
        return network_pb2.ReserveResponse(endpoints=endpoints)

    async def Release(self, request: Any, **_: Any) -> Any:
        if isinstance(request, volume_pb2.ReleaseRequest):
            return await self.volumes.Release(request)
        return await super().Release(request)

    async def end(self, container_id: str, code: int) -> None:
        self.sequence += 1
        event = process_pb2.ProcessEvent(
            sequence=self.sequence,
            container_id=container_id,
            boot_id=self.boots[container_id],
            process_id="init",
            ended=process_pb2.ProcessEnded(exit_code=code),
        )
        event.ended.finished_at.GetCurrentTime()
        self.events.put_nowait(event)

    async def PowerOff(self, request: process_pb2.PowerOffRequest) -> None:
        self.powered_off.append(request.container_id)
        vm = await machine_of(self.vcenter, self.instance_id, request.container_id)
        if vm is not None:
            await self.vcenter.finish(lambda _: vm.PowerOffVM_Task())

    async def Acknowledge(self, request: process_pb2.AcknowledgeRequest) -> None: ...

    async def Watch(self, request: Any) -> AsyncIterator[process_pb2.WatchResponse]:
        yield process_pb2.WatchResponse(started=process_pb2.WatchStarted(sequence=self.sequence))
        while True:
            yield process_pb2.WatchResponse(event=await self.events.get())


async def machine_of(
    vcenter: VCenter, instance_id: str, container_id: str
) -> vim.VirtualMachine | None:
    """Return a container's VM."""
    bios_uuid = container_uuid(instance_id, container_id)
    return await vcenter.call(lambda content: find_machine(content, bios_uuid))


@dataclass
class Service:
    """exec and what is beside it."""

    instance_id: str
    data: Path
    vcenter: VCenter
    facets: FacetsBeside
    processes: dict[Role, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def exec(self) -> "exec_pb2_grpc.ExecServiceAsyncStub":
        """The service, called from outside."""
        return exec_pb2_grpc.ExecServiceStub(self.channel)

    channel: grpc.aio.Channel = field(init=False)
    talk: grpc.aio.Channel = field(init=False)
    """To interaction."""

    @property
    def endpoint(self) -> Path:
        """The Docker endpoint, where there are guests."""
        return self.data / "docker.sock"

    async def machine(self, container_id: str) -> vim.VirtualMachine | None:
        """Return a container's VM."""
        return await machine_of(self.vcenter, self.instance_id, container_id)

    async def start(self, role: Role, module: str) -> None:
        """Run a process of the suite."""
        with (self.data / f"{role}.log").open("ab") as log:
            self.processes[role] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                cwd=ROOT,
                env={
                    **os.environ,
                    "VIC_DATA_DIR": str(self.data),
                    "PYTHONPATH": f"{ROOT}:{ROOT}/protos",
                },
                stdout=log,
                stderr=log,
            )

    async def end(self, role: Role, *, kill: bool = False) -> None:
        """End a process."""
        process = self.processes.pop(role)
        if kill:
            process.kill()
        else:
            process.terminate()
        async with asyncio.timeout(60):
            await process.wait()

    def log(self, role: Role) -> str:
        """Return what a process has written."""
        return (self.data / f"{role}.log").read_text()


@asynccontextmanager
async def exec_service(
    simulated: Simulator, instance_id: str = "", *, guests: bool = False, **vsphere: Any
) -> AsyncIterator[Service]:
    """Run exec against a vCenter, with more settings of the section ``vsphere``.

    ``guests``: interaction and the gateway are real as well, for tethers that are.
    """
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vic-")))
        instance_id = instance_id or secrets.token_hex(4)
        vcenter = VCenter(simulated.target())
        await vcenter.open()
        stack.push_async_callback(vcenter.close)
        await put_bootstrap(vcenter)
        port = free_port()
        _lay_out(data, instance_id, settings(simulated, **vsphere), port)
        facets = FacetsBeside(vcenter=vcenter, instance_id=instance_id, tether_port=port)
        for role, services in SERVED.items():
            if guests and role is Role.INTERACTION:
                continue
            server = _server(data, instance_id, role, services, facets)
            await server.start([f"unix:{data}/run/{role}.sock"])
            stack.push_async_callback(server.stop)
        service = Service(instance_id, data, vcenter, facets)
        stack.push_async_callback(_end_all, service)
        await service.start(Role.HOSTAGENT, "hostagent")
        if guests:
            await service.start(Role.INTERACTION, "services.interaction")
            await service.start(Role.GATEWAY, "gateway")
        await service.start(Role.EXEC, "services.exec")
        credentials = Credentials.load(data / "pki" / Role.ADMIN)
        service.channel = open_channel(
            f"unix:{data}/run/exec.sock", Role.EXEC, instance_id, credentials
        )
        stack.push_async_callback(service.channel.close)
        service.talk = open_channel(
            f"unix:{data}/run/interaction.sock", Role.INTERACTION, instance_id, credentials
        )
        stack.push_async_callback(service.talk.close)
        yield service


def settings(simulated: Simulator, **more: Any) -> dict[str, Any]:
    """Return the section ``vsphere`` of an instance on a simulated vCenter."""
    target = simulated.target()
    return {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password_file": str(target.password_file),
        "thumbprint": target.thumbprint,
        "folder": "/DC0/vm",
        "resource_pool": "/DC0/host/DC0_C0/Resources",
        "datastore": "LocalDS_0",
        "bootstrap": BOOTSTRAP,
        **more,
    }


def _lay_out(data: Path, instance_id: str, section: dict[str, Any], tether_port: int) -> None:
    fields = {
        "instance_id": instance_id,
        "slot": 0,
        "driver": "vsphere",
        "vsphere": section,
        "tether_listen": [f"127.0.0.1:{tether_port}"],
        "gateway_listen": [f"unix://{data}/docker.sock"],
    }
    (data / "instance.json").write_text(json.dumps(fields))
    for name in ("run", "exec", "interaction", "pki"):
        (data / name).mkdir()
    authority = Authority.create(instance_id)
    authority.write(data / "pki")
    for role in ROLES:
        names = [server_name(role, instance_id)]
        identity = authority.issue(role, uri=peer_uri(role, instance_id), dns_names=names)
        identity.write(data / "pki" / role, owner=(os.geteuid(), os.getegid()))


def _server(
    data: Path,
    instance_id: str,
    role: Role,
    services: tuple[ServiceDescriptor, ...],
    facets: FacetsBeside,
) -> FacetServer:
    access = {name: CALLERS for s in services for name in rpc_names(s)}
    credentials = Credentials.load(data / "pki" / role)
    made = FacetServer(credentials, instance_id, access, list(services))
    for service in services:
        answering: Any = facets.volumes if service.name == "VolumeService" else facets
        handlers = {
            method.name: _handler(method, answering)
            for method in service.methods
            if hasattr(answering, method.name)
        }
        handler = grpc.method_handlers_generic_handler(service.full_name, handlers)
        made.server.add_generic_rpc_handlers((handler,))
    return made


def _handler(method: MethodDescriptor, facets: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    answer = getattr(facets, method.name)
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    codec = {
        "request_deserializer": request.FromString,
        "response_serializer": lambda message: message.SerializeToString(),
    }
    if method.server_streaming:

        async def stream(message: Any, context: Any) -> AsyncIterator[Any]:
            async for part in answer(message):
                yield part

        streaming: grpc.RpcMethodHandler[Any, Any]
        streaming = grpc.unary_stream_rpc_method_handler(stream, **codec)
        return streaming

    async def unary(message: Any, context: Any) -> Any:
        return await answer(message) or response()

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(unary, **codec)
    return handler


async def _end_all(service: Service) -> None:
    for role in list(service.processes):
        await service.end(role)
        # Shown where a test fails.
        print(f"--- {role}\n{service.log(role)}")
