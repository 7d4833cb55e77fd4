"""The exec facet's domain over fakes of its peers, which only tests may have."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1 import container_pb2
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, image_pb2, volume_pb2
from vic.tether.v1 import process_pb2 as tether_process_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    VicError,
)
from portlayer.fencing import Fences, held_turn
from portlayer.store import Store, open_store
from services.exec.admission import Admission
from services.exec.creation import Creator
from services.exec.drivers import (
    CreatedMachine,
    HypervisorInfo,
    MachineExited,
    MachineSpec,
    MachineState,
    StartKind,
    Surroundings,
)
from services.exec.eventlog import EventLog
from services.exec.exits import Exit, Exits
from services.exec.facts import Facts
from services.exec.history import History
from services.exec.kernels import Kernels
from services.exec.lifecycle import Lifecycle
from services.exec.limits import MIB, Allocation, Size
from services.exec.logdrivers import LogDrivers
from services.exec.operations import Turns
from services.exec.parts import Parts
from services.exec.peers import Peers
from services.exec.reconcile import Reconciler
from services.exec.reports import Reports
from services.exec.restarting import Restarts
from services.exec.startmode import StartMode, StartModes
from services.exec.store import MIGRATIONS, Containers
from services.exec.tether_place import TetherPlace
from services.exec.vch import Vch
from tests.databases import place_database

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
        self.attached[request.container_id] = request.boot_id
        self.read_only = request.read_only
        names = {use.name for use in self.reserved[request.container_id]}
        disks = [volume_pb2.AttachedDisk(volume_name=name) for name in sorted(names)]
        return volume_pb2.AttachResponse(disks=disks)

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
    # Of the workload of each container whose limits were changed.
    limits: dict[str, tether_process_pb2.WorkloadLimits] = field(default_factory=dict)
    powered_off: list[str] = field(default_factory=list)
    # Cleared, it lets Launch wait for its answer, after `launched`.
    answer_launch: asyncio.Event = field(default_factory=asyncio.Event)
    launched: asyncio.Event = field(default_factory=asyncio.Event)
    # Whether the process had begun when the VM of an unanswered Launch went.
    ran: bool = False
    kernel_release: str = "6.1"
    volumes: FakeVolumes = field(default_factory=FakeVolumes)

    def __post_init__(self) -> None:
        self.answer_launch.set()
        self._ports = itertools.count(49153)

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing.pop(call)

    async def Get(self, request: Any, **_: Any) -> Any:
        self._fail("Get")
        if isinstance(request, image_pb2.ImageServiceGetRequest):
            if request.reference == "missing":
                raise NotFound("No such image: missing", Reason.IMAGE_NOT_FOUND)
            return image_pb2.ImageServiceGetResponse(image=IMAGE)
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
                if any(
                    host_port == p.host_port for ports in self.published.values() for p in ports
                ):
                    message = f"Bind for 0.0.0.0:{host_port} failed: port is already allocated"
                    raise AlreadyExists(message, Reason.PORT_IN_USE)
                port = network_pb2.PublishedPort()
                port.CopyFrom(wish)
                port.host_address = wish.host_address or "0.0.0.0"
                port.host_port = host_port
                given.append(port)
            self.published[request.container_id] = given
        return network_pb2.PublishResponse(ports=self.published[request.container_id])

    async def Retire(self, request: process_pb2.RetireRequest) -> None:
        self.retired.append(request.boot_id)
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
        self.ran_with = list(request.process.env)
        self.boots[request.container_id] = request.boot_id
        self.launched.set()
        await self.answer_launch.wait()
        if request.boot_id in self.retired and not self.ran:
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


@dataclass
class Standstill:
    """A call of a process that stands still for a while."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class FakeHypervisor:
    """VMs in memory."""

    machines: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    failing: dict[str, VicError] = field(default_factory=dict)
    kinds: list[bool] = field(default_factory=list)
    # Kernels that there are, and those that VMs were made with.
    named: dict[str, str] = field(default_factory=dict)
    booted: list[str] = field(default_factory=list)
    # CPU shares of VMs that were weighed anew.
    shares: dict[str, int] = field(default_factory=dict)
    # Networks whose NICs were plugged in, and what guests were told of their interfaces since.
    plugged: list[str] = field(default_factory=list)
    interfaces: dict[str, dict[str, str]] = field(default_factory=dict)
    # How many of the next starts take a clone that was kept ready.
    ready: int = 0
    # How many are to be kept.
    wanted: int = 0
    settlements: list[str] = field(default_factory=list)
    # Boots that there ever were: none is launched twice.
    launched: set[str] = field(default_factory=set)
    # What VMs were made of, by boot.
    specs: dict[str, MachineSpec] = field(default_factory=dict)
    exits_to: "Exits | None" = None
    telling: set[asyncio.Task[None]] = field(default_factory=set)
    allocation: Allocation = field(default_factory=Allocation)
    reserved_by_others: int = 0
    # As the host agent has them, and what the next creation waits for before it gets there.
    fences: Fences = field(default_factory=Fences)
    standstills: list[Standstill] = field(default_factory=list)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def info(self) -> HypervisorInfo:
        return HypervisorInfo(
            "fake",
            "fake",
            "none",
            "a test",
            "6.1",
            2,
            2**34,
            ready_wanted=self.wanted,
            reserved_by_others_bytes=self.reserved_by_others,
            allocation=self.allocation,
        )

    async def allocate(self, allocation: Allocation) -> None:
        self._fail("allocate")
        self.allocation = allocation

    def size(self, resources: container_pb2.Resources) -> Size:
        return Size(max(512 * MIB, resources.memory_bytes), max(1, resources.nano_cpus // 10**9))

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        if self.standstills:
            standstill = self.standstills.pop()
            standstill.reached.set()
            await standstill.over.wait()
        self._fence()
        self._fail("create")
        if machine.boot_id in self.launched:
            raise FailedPrecondition("this launch has ended")
        if machine.container_id in self.machines:
            raise AlreadyExists("it runs", Reason.MACHINE_EXISTS)
        self.launched.add(machine.boot_id)
        self.specs[machine.boot_id] = machine
        self.machines[machine.container_id] = machine.boot_id
        self.kinds.append(machine.cold)
        self.booted.append(machine.kernel)
        kind = StartKind.COLD_BOOT if machine.cold else StartKind.INSTANT_CLONE
        if self.ready:
            self.ready -= 1
            kind = StartKind.READY_CLONE
        return CreatedMachine(4242, kind)

    async def load(self, container_id: str, boot_id: str) -> None:
        self._fail("load")

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        self._fail("check_awake")

    async def run(self, container_id: str, boot_id: str) -> None:
        self._fail("run")

    async def destroy(self, container_id: str, boot_id: str = "") -> None:
        self._fence()
        self._fail("destroy")
        if container_id in self.machines and boot_id in (self.machines[container_id], ""):
            exited = MachineExited(container_id, self.machines.pop(container_id), b"", "killed")
            if self.exits_to is not None:
                # As its end is told by a stream of its own.
                telling = asyncio.create_task(self.exits_to.machine_exited(exited))
                self.telling.add(telling)
                telling.add_done_callback(self.telling.discard)

    async def inventory(self) -> Sequence[MachineState]:
        return [MachineState(c, b, 4242) for c, b in self.machines.items()]

    async def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        yield after, None
        await asyncio.Event().wait()

    async def forget_exits(self, through: int) -> None: ...

    async def kernels(self) -> Mapping[str, str]:
        return self.named

    async def try_kernel(self, digest: str) -> str:
        self._fail("try_kernel")
        return "6.9"

    async def reweigh(
        self, container_id: str, boot_id: str, resources: container_pb2.Resources
    ) -> None:
        self._fail("reweigh")
        assert self.machines[container_id] == boot_id
        self.shares[container_id] = resources.cpu_shares

    async def plug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        self._fail("plug")
        assert self.machines[container_id] == boot_id
        self.plugged.append(endpoint.network_name)

    async def unplug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        self._fail("unplug")
        if endpoint.network_name in self.plugged:
            self.plugged.remove(endpoint.network_name)

    async def surround(
        self, container_id: str, boot_id: str, around: Surroundings, *, wait: bool
    ) -> None:
        self._fail("surround")
        assert wait is (container_id not in self.paused)
        self.interfaces[container_id] = {
            around.names[e.id]: e.network_name for e in around.endpoints if not e.management
        }

    async def show_image(self, container_id: str, boot_id: str, chain_length: int) -> int:
        self._fail("show_image")
        assert self.machines[container_id] == boot_id
        assert chain_length == 2
        return 255

    async def pause(self, container_id: str) -> None:
        self._fail("pause")
        self.paused.add(container_id)

    async def unpause(self, container_id: str) -> None:
        self.paused.discard(container_id)

    async def is_paused(self, container_id: str) -> bool:
        return container_id in self.paused

    def check_ready(self, count: int) -> None:
        if count > 8:
            raise InvalidArgument(f"{count} ready clones take too much", Reason.INVALID_REQUEST)

    def keep_ready(self, count: int | None) -> None:
        self.wanted = 2 if count is None else count

    def settled(self, boot_id: str) -> None:
        self.settlements.append(boot_id)

    def _fence(self) -> None:
        if (turn := held_turn()) is not None:
            self.fences.raise_to(turn)

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing.pop(call)


@dataclass
class Facet:
    """All parts of the facet, wired as the composition root does."""

    store: Store
    containers: Containers
    admission: Admission
    facts: Facts
    history: History
    events: EventLog
    creator: Creator
    lifecycle: Lifecycle
    modes: StartModes
    vch: Vch
    exits: Exits
    reconciler: Reconciler
    restarts: Restarts
    reports: Reports
    turns: Turns
    peers: FakeFacets
    hypervisor: FakeHypervisor
    kernels: Kernels

    async def run(self, name: str = "", **fields: Any) -> str:
        """Create and start a container; return its ID."""
        spec = container_pb2.ContainerSpec(image="busybox", name=name, **fields)
        record = await self.creator.create("", spec)
        await self.lifecycle.start(record.id)
        await self.exits.beside.drain()
        return record.id

    def leftovers(self) -> list[str]:
        """Return what is left in the peers."""
        peers = self.peers
        held = [*peers.disks, *peers.reservations, *peers.registered, *peers.volumes.reserved]
        return [*held, *self.hypervisor.machines]

    def restarted(self) -> "Facet":
        """Return the facet as it is after a SIGKILL: database and peers are all that is left."""
        facet = wire(self.store, self.peers, self.hypervisor)
        facet.exits.caught_up = True
        return facet


def wire(store: Store, peers: FakeFacets, hypervisor: FakeHypervisor) -> Facet:
    """Put a facet together."""
    stubs = Peers(*(cast("Any", peers),) * 4, cast("Any", peers.volumes))
    containers, facts = Containers(store), Facts(store)
    admission = Admission(store, hypervisor, DISK_BYTES)
    history, turns = History(store), Turns(store.neighbours)
    events = EventLog(history)
    exits = Exits(containers, events, turns, stubs, hypervisor)
    peers.exits = hypervisor.exits_to = exits
    kernels = Kernels(facts, hypervisor)
    log_drivers = LogDrivers(facts)
    creator = Creator(containers, admission, events, turns, stubs, hypervisor, kernels, log_drivers)
    parts = Parts(containers, events, turns, stubs, hypervisor, creator, exits, kernels)
    modes = StartModes(facts, hypervisor, StartMode())
    tethers = TetherPlace(stubs, "interaction.test.vic")
    lifecycle = Lifecycle(parts, admission, modes, tethers, store.neighbours)
    vch = Vch(
        "0" * 8, "1", containers, admission, lifecycle, hypervisor, modes, kernels, log_drivers
    )
    reconciler = Reconciler(containers, turns, stubs, hypervisor, creator, exits, lifecycle.holding)
    restarts = Restarts(containers, facts, lifecycle, exits)
    reports = Reports(containers, events)
    return Facet(
        store,
        containers,
        admission,
        facts,
        history,
        events,
        creator,
        lifecycle,
        modes,
        vch,
        exits,
        reconciler,
        restarts,
        reports,
        turns,
        peers,
        hypervisor,
        kernels,
    )


@pytest.fixture
async def facet(tmp_path: Path) -> AsyncIterator[Facet]:
    """A facet with an empty database."""
    place_database(tmp_path / "exec.db", MIGRATIONS)
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/exec.db", MIGRATIONS)
    facet = wire(store, FakeFacets(), FakeHypervisor())
    yield facet
    await facet.lifecycle.holding.close()
    while facet.hypervisor.telling:
        await asyncio.wait(facet.hypervisor.telling)
    await facet.exits.drain()
    await store.close()
