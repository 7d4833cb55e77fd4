"""Fakes of the facets that exec calls: storage, network, interaction."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, image_pb2, volume_pb2
from vic.tether.v1 import process_pb2 as tether_process_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Reason,
    VicError,
)
from services.exec.drivers import (
    MachineExited,
)
from services.exec.exitrecord import Exit
from services.exec.exits import Exits

DISK_BYTES = 8 * 2**30
IMAGE = image_pb2.Image(
    id="sha256:" + "ab" * 32,
    config=image_pb2.ImageConfig(command=["sh"], env=["A=image", "B=image"], labels={"l": "image"}),
)


@dataclass
class FakeVolumes:
    """Uses of volumes in memory."""

    reserved: dict[str, list[volume_pb2.VolumeUse]] = field(default_factory=dict)
    attached: dict[str, str] = field(default_factory=dict)
    released: list[tuple[str, bool]] = field(default_factory=list)
    failing: dict[str, VicError] = field(default_factory=dict)
    # Whether the last attachment was only to read.
    read_only: bool = False

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing.pop(call)

    async def Reserve(self, request: volume_pb2.ReserveRequest, **_: Any) -> None:
        self._fail("Reserve")
        self.reserved[request.container_id] = list(request.volumes)

    async def Release(self, request: volume_pb2.ReleaseRequest, **_: Any) -> None:
        self._fail("Release")
        self.attached.pop(request.container_id, None)
        if self.reserved.pop(request.container_id, None) is not None:
            self.released.append((request.container_id, request.remove_anonymous))

    async def Attach(self, request: volume_pb2.AttachRequest) -> volume_pb2.AttachResponse:
        self._fail("Attach")
        names = self._names(request.container_id)
        for other in self.attached:
            # A volume has one writer at a time, whatever becomes of its VM.
            if other != request.container_id and names & self._names(other):
                message = "a volume is attached to another container"
                raise FailedPrecondition(message, Reason.VOLUME_ATTACHED, container=other)
        self.attached[request.container_id] = request.boot_id
        self.read_only = request.read_only
        disks = [volume_pb2.AttachedDisk(volume_name=name) for name in sorted(names)]
        return volume_pb2.AttachResponse(disks=disks)

    def _names(self, container_id: str) -> set[str]:
        return {use.name for use in self.reserved[container_id]}

    async def Detach(self, request: volume_pb2.DetachRequest) -> None:
        self._fail("Detach")
        if self.attached.get(request.container_id) == request.boot_id:
            del self.attached[request.container_id]

    async def ListUses(self, request: volume_pb2.ListUsesRequest) -> volume_pb2.ListUsesResponse:
        self._fail("ListUses")
        return volume_pb2.ListUsesResponse(
            uses=[
                volume_pb2.ContainerUse(container_id=i, boot_id=self.attached.get(i, ""))
                for i in self.reserved
            ]
        )


def _endpoint(container_id: str, wish: network_pb2.EndpointRequest) -> network_pb2.Endpoint:
    """Return an endpoint as network would give it."""
    network = wish.network.removeprefix("id-of-")
    return network_pb2.Endpoint(
        id=f"{network}-{container_id[:8]}",
        container_id=container_id,
        network_id=f"id-of-{network}",
        network_name=network,
        tap_name=f"tap-{network}",
        mac_address="02:42:ac:11:00:02",
        ipv4_address="172.17.0.2",
        aliases=wish.aliases,
        default_route=network == "bridge",
    )


@dataclass
class FakeFacets:
    """Storage, network and interaction in memory. ``failing`` names calls that fail once."""

    disks: dict[str, bytes] = field(default_factory=dict)
    reservations: dict[str, list[network_pb2.Endpoint]] = field(default_factory=dict)
    registered: set[str] = field(default_factory=set)
    ran_with: list[str] = field(default_factory=list)
    # Under what name the tether of the last launch had waited.
    given: str = ""
    bound: set[str] = field(default_factory=set)
    # Which ports of the host lead to which container, and to which of its ports.
    published: dict[str, list[network_pb2.PublishedPort]] = field(default_factory=dict)
    # What containers are called in their networks since they were renamed.
    names: dict[str, str] = field(default_factory=dict)
    failing: dict[str, VicError] = field(default_factory=dict)
    signals: list[tuple[str, int]] = field(default_factory=list)
    signalled: asyncio.Event = field(default_factory=asyncio.Event)
    # What a process does on a signal; None: it goes on.
    exit_on: dict[int, int] = field(default_factory=lambda: {9: 137, 15: 143})
    exits: "Exits | None" = None
    boots: dict[str, str] = field(default_factory=dict)
    retired: list[str] = field(default_factory=list)
    # Those of them that had been taken in: there is nothing to retire of another.
    ended: set[str] = field(default_factory=set)
    # Of the workload of each container whose limits were changed.
    limits: dict[str, tether_process_pb2.WorkloadLimits] = field(default_factory=dict)
    powered_off: list[str] = field(default_factory=list)
    # Cleared, it lets Launch wait before its boot is taken in.
    take_launch: asyncio.Event = field(default_factory=asyncio.Event)
    # Cleared, it lets Launch wait for its answer, after `launched`.
    answer_launch: asyncio.Event = field(default_factory=asyncio.Event)
    launched: asyncio.Event = field(default_factory=asyncio.Event)
    # Whether the process had begun when the VM of an unanswered Launch went.
    ran: bool = False
    kernel_release: str = "6.1"
    volumes: FakeVolumes = field(default_factory=FakeVolumes)

    def __post_init__(self) -> None:
        self.answer_launch.set()
        self.take_launch.set()
        self._ports = itertools.count(49153)

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing.pop(call)

    async def Get(self, request: Any, **_: Any) -> Any:
        self._fail("Get")
        if isinstance(request, image_pb2.ImageServiceGetRequest):
            if request.reference == "missing":
                raise NotFound("No such image: missing", Reason.IMAGE_NOT_FOUND)
            if request.platform not in ("", "linux/amd64"):
                raise NotFound(f"not for {request.platform}", Reason.IMAGE_NOT_FOUND)
            return image_pb2.ImageServiceGetResponse(image=IMAGE)
        if isinstance(request, network_pb2.GetRequest):
            if request.reference == "nowhere":
                raise NotFound("network nowhere not found", Reason.NETWORK_NOT_FOUND)
            return network_pb2.GetResponse()
        if request.container_id not in self.disks:
            raise NotFound("no disk", Reason.DISK_NOT_FOUND)
        return disk_pb2.DiskServiceGetResponse(disk=self._disk(request.container_id))

    def _disk(self, container_id: str) -> disk_pb2.Disk:
        return disk_pb2.Disk(
            container_id=container_id,
            chain=["/top.vmdk", "/base.vmdk"],
            virtual_size_bytes=2**33,
            specification=self.disks[container_id],
        )

    async def Prepare(self, request: disk_pb2.PrepareRequest) -> disk_pb2.PrepareResponse:
        self._fail("Prepare")
        self.disks[request.container_id] = request.specification
        return disk_pb2.PrepareResponse(disk=self._disk(request.container_id))

    async def UpdateLimits(self, request: process_pb2.UpdateLimitsRequest) -> None:
        self._fail("UpdateLimits")
        self.limits[request.container_id] = request.limits

    async def PutSpecification(self, request: disk_pb2.PutSpecificationRequest) -> None:
        self._fail("PutSpecification")
        self.disks[request.container_id] = request.specification

    async def Remove(self, request: disk_pb2.DiskServiceRemoveRequest) -> None:
        self._fail("Remove")
        self.disks.pop(request.container_id, None)

    async def List(self, request: Any) -> disk_pb2.DiskServiceListResponse:
        return disk_pb2.DiskServiceListResponse(disks=[self._disk(i) for i in self.disks])

    async def DiskUsage(self, request: Any) -> image_pb2.DiskUsageResponse:
        self._fail("DiskUsage")
        return image_pb2.DiskUsageResponse(
            containers=[
                image_pb2.ContainerDiskUsage(container_id=i, writable_bytes=1000)
                for i in self.disks
            ]
        )

    async def Info(self, request: Any) -> network_pb2.InfoResponse:
        return network_pb2.InfoResponse(management_address="100.112.0.1", tether_port=7443)

    async def Reserve(self, request: network_pb2.ReserveRequest) -> network_pb2.ReserveResponse:
        self._fail("Reserve")
        endpoints = [network_pb2.Endpoint(management=True, ipv4_address="100.112.0.2")]
        endpoints += [_endpoint(request.container_id, e) for e in request.endpoints]
        self.reservations[request.container_id] = endpoints
        return network_pb2.ReserveResponse(endpoints=endpoints)

    async def Connect(self, request: network_pb2.ConnectRequest) -> network_pb2.ConnectResponse:
        self._fail("Connect")
        endpoint = _endpoint(request.container_id, request.endpoint)
        known = self.reservations[request.container_id]
        assert endpoint.network_name not in [e.network_name for e in known]
        known.append(endpoint)
        return network_pb2.ConnectResponse(endpoint=endpoint, endpoints=known)

    async def Disconnect(
        self, request: network_pb2.DisconnectRequest
    ) -> network_pb2.DisconnectResponse:
        self._fail("Disconnect")
        left = [
            e
            for e in self.reservations[request.container_id]
            if request.network not in (e.network_id, e.network_name)
        ]
        self.reservations[request.container_id] = left
        return network_pb2.DisconnectResponse(endpoints=left)

    async def GetReservation(
        self, request: network_pb2.GetReservationRequest
    ) -> network_pb2.GetReservationResponse:
        if request.container_id not in self.reservations:
            raise NotFound("no endpoints", Reason.ENDPOINT_NOT_FOUND)
        endpoints = self.reservations[request.container_id]
        return network_pb2.GetReservationResponse(endpoints=endpoints)

    async def ListReservations(self, request: Any) -> network_pb2.ListReservationsResponse:
        return network_pb2.ListReservationsResponse(container_ids=list(self.reservations))

    async def Release(self, request: network_pb2.ReleaseRequest) -> None:
        self.reservations.pop(request.container_id, None)
        self.bound.discard(request.container_id)
        self.published.pop(request.container_id, None)

    async def Rename(self, request: network_pb2.RenameRequest) -> None:
        self._fail("Rename")
        self.names[request.container_id] = request.container_name

    async def Bind(self, request: network_pb2.BindRequest) -> network_pb2.BindResponse:
        self._fail("Bind")
        if request.management_of:
            self.reservations.pop(request.management_of, None)
        if not request.management_only:
            self.bound.add(request.container_id)
        return network_pb2.BindResponse(endpoints=self.reservations[request.container_id])

    async def Unbind(self, request: network_pb2.UnbindRequest) -> None:
        self.bound.discard(request.container_id)
        self.published.pop(request.container_id, None)

    async def Unpublish(self, request: network_pb2.UnpublishRequest) -> None:
        self.published.pop(request.container_id, None)

    async def Publish(self, request: network_pb2.PublishRequest) -> network_pb2.PublishResponse:
        self._fail("Publish")
        if request.container_id not in self.published:
            given = []
            for wish in request.ports:
                host_port = wish.host_port_start or next(self._ports)
                holders = [
                    holder
                    for holder, ports in self.published.items()
                    if any(host_port == port.host_port for port in ports)
                ]
                if holders:
                    message = f"Bind for 0.0.0.0:{host_port} failed: port is already allocated"
                    raise AlreadyExists(message, Reason.PORT_IN_USE, container=holders[0])
                port = network_pb2.PublishedPort()
                port.CopyFrom(wish)
                port.host_address = wish.host_address or "0.0.0.0"
                port.host_port = host_port
                given.append(port)
            self.published[request.container_id] = given
        return network_pb2.PublishResponse(ports=self.published[request.container_id])

    async def Retire(self, request: process_pb2.RetireRequest) -> None:
        self.retired.append(request.boot_id)
        await asyncio.sleep(0)
        if self.boots.get(request.container_id) == request.boot_id:
            self.ended.add(request.boot_id)
            self.answer_launch.set()

    async def Register(self, request: process_pb2.RegisterRequest) -> None:
        self._fail("Register")
        self.registered.add(request.container_id)

    async def Unregister(self, request: process_pb2.UnregisterRequest) -> None:
        self.registered.discard(request.container_id)

    async def ListRegistered(self, request: Any) -> process_pb2.ListRegisteredResponse:
        return process_pb2.ListRegisteredResponse(container_ids=list(self.registered))

    async def Launch(
        self, request: process_pb2.LaunchRequest, **_: Any
    ) -> process_pb2.LaunchResponse:
        self._fail("Launch")
        await self.take_launch.wait()
        self.given = request.tether_id
        self.ran_with = list(request.process.env)
        self.boots[request.container_id] = request.boot_id
        self.launched.set()
        await self.answer_launch.wait()
        if request.boot_id in self.ended and not self.ran:
            raise FailedPrecondition("not running", Reason.NOT_RUNNING)
        started = Timestamp()
        started.GetCurrentTime()
        return process_pb2.LaunchResponse(
            pid=1, started_at=started, kernel_release=self.kernel_release
        )

    async def Admit(self, request: process_pb2.AdmitRequest, **_: Any) -> None:
        self._fail("Admit")
        self.boots[request.container_id] = request.boot_id

    async def Signal(self, request: process_pb2.SignalRequest) -> None:
        self._fail("Signal")
        self.signals.append((request.container_id, request.signal))
        self.signalled.set()
        if request.container_id not in self.boots:
            raise FailedPrecondition("not running", Reason.NOT_RUNNING)
        code = self.exit_on.get(request.signal)
        if code is not None:
            await self.end(request.container_id, code)

    async def PowerOff(self, request: process_pb2.PowerOffRequest) -> None:
        self.powered_off.append(request.container_id)
        assert self.exits is not None
        boot = self.boots.get(request.container_id, "")
        await self.exits.machine_exited(MachineExited(request.container_id, boot, b"", ""))

    async def end(self, container_id: str, code: int) -> None:
        """Let the init process of a container end."""
        assert self.exits is not None
        how = Exit(code, False, 1_800_000_000_000_000_000)
        await self.exits.process_ended(container_id, self.boots[container_id], how)
