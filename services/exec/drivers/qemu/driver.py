"""The qemu driver of exec: the host agent launches, this speaks QMP to what it launched."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from vic.exec.v1 import container_pb2
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from vic.network.v1 import network_pb2

from portlayer.errors import (
    NotFound,
    Reason,
    Unavailable,
    VicError,
    domain_errors,
)
from portlayer.neighbours import Neighbours
from services.exec.drivers import (
    CreatedMachine,
    HypervisorInfo,
    MachineExited,
    MachineSpec,
    MachineState,
    Surroundings,
    Usage,
)
from services.exec.drivers.guest import surroundings
from services.exec.drivers.qemu.dialling import Dialling
from services.exec.drivers.qemu.hostmemory import HostMemory
from services.exec.drivers.qemu.imagedisk import IMAGE_LUN, show_image
from services.exec.drivers.qemu.images import BootstrapImages
from services.exec.drivers.qemu.launching import Launching, plug
from services.exec.drivers.qemu.measuring import measure
from services.exec.drivers.qemu.parents import PREFIX, Parents
from services.exec.drivers.qemu.pausing import Pausing
from services.exec.drivers.qemu.ready import ReadyClones
from services.exec.drivers.qemu.taps import nic
from services.exec.drivers.qemu.warming import READY_PREFIX, TEMPLATE_PREFIX
from services.exec.drivers.shapes import DEFAULT_MEMORY_MIB, MIB, shape_class
from services.exec.limits import Allocation, Size
from services.exec.resources import host_weight

log = logging.getLogger("vic.exec.qemu")

# An interface comes up within a second, under emulation on a host that is busy in some.
SURROUND_MILLISECONDS = 30_000

_ACCELERATORS = {
    hostagent_pb2.ACCELERATOR_KVM: "kvm",
    hostagent_pb2.ACCELERATOR_TCG: "tcg",
}


class QemuHypervisor:
    """Implements :class:`~services.exec.drivers.Hypervisor`, and what it says some can besides."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        *,
        bootstrap_digest: str,
        default_disk_bytes: int,
        memory: HostMemory | None = None,
        dialling: Dialling | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        """Without ``dialling`` no clone is connected while it waits.

        ``neighbours`` tell replicas of this service of one another.
        """
        self._agent = agent
        self._images = BootstrapImages(agent, bootstrap_digest)
        self._default_disk_bytes = default_disk_bytes
        self._parents = Parents(agent, neighbours)
        self._pausing = Pausing(agent)
        self._ready = ReadyClones(agent, self._parents, memory or HostMemory(), dialling)
        self._launching = Launching(agent, self._images, self._parents, self._ready)
        self._preparation: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Prepare starts of the default class in the background: its parent, and ready clones."""
        self._preparation = asyncio.create_task(self._prepare_default(), name="default class")

    async def _prepare_default(self) -> None:
        try:
            shape = self._default_shape(await self._images.default())
        except VicError as error:
            log.warning("cannot tell the default shape: %s", error.message)
            return
        try:
            await self._parents.ready(shape)
        except VicError as error:
            log.warning("cannot build the default parent: %s", error.message)
        await self._ready.keep(shape)

    async def close(self) -> None:
        """Give up builds in hand; VMs run on."""
        if self._preparation is not None:
            self._preparation.cancel()
            await asyncio.wait([self._preparation])
        await self._ready.close()
        await self._parents.close()

    async def info(self) -> HypervisorInfo:
        """Describe the host."""
        info = await self._agent.Info(hostagent_pb2.InfoRequest())
        default = self._images.default_of(info)
        return HypervisorInfo(
            driver="qemu",
            hypervisor=f"QEMU {info.qemu_version}",
            accelerator=_ACCELERATORS.get(info.accelerator, "undecided"),
            accelerator_reason=info.accelerator_reason,
            kernel_release=default.kernel_release if default else "",
            cpus=info.host_cpus,
            memory_bytes=info.host_memory_bytes,
            ready_waiting=self._ready.waiting,
            ready_wanted=self._ready.wanted,
            ready_failed=self._ready.failed,
            reserved_by_others_bytes=info.memory_reserved_by_others_bytes,
            allocation=Allocation(
                cpu_reservation_millis=info.allocation.cpu_reservation_millis,
                memory_reservation_bytes=info.allocation.memory_reservation_bytes,
                cpu_shares=info.allocation.cpu_shares,
                memory_shares=info.allocation.memory_shares,
                memory_protected=info.memory_protected,
            ),
            warnings=tuple(info.warnings),
        )

    async def allocate(self, allocation: Allocation) -> None:
        """Have the agent reserve and weigh the instance's cgroup anew."""
        await self._agent.Allocate(
            hostagent_pb2.AllocateRequest(
                allocation=hostagent_pb2.Allocation(
                    cpu_reservation_millis=allocation.cpu_reservation_millis,
                    memory_reservation_bytes=allocation.memory_reservation_bytes,
                    cpu_shares=allocation.cpu_shares,
                    memory_shares=allocation.memory_shares,
                )
            )
        )

    def size(self, resources: container_pb2.Resources) -> Size:
        """Return the size of the class that holds the limits."""
        shape = shape_class(resources)
        return Size(shape.memory_mib * MIB, shape.vcpus)

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        """Take a ready clone, launch one of the shape's parent, or boot where that can't be."""
        return await self._launching.create(machine)

    async def load(self, container_id: str, boot_id: str) -> None:
        """Load a clone's device state, and plug in what NICs its parent doesn't have."""
        await self._launching.load(container_id, boot_id)

    async def run(self, container_id: str, boot_id: str) -> None:
        """Let a clone's CPUs run; a machine that boots runs already."""
        await self._launching.run(boot_id)

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        """Raise CLONE_FAILED where the tether of a ready clone has not taken its identity yet."""
        await self._launching.check_awake(container_id, boot_id)

    async def kernels(self) -> Mapping[str, str]:
        """Return the kernels that have names."""
        return await self._images.kernels()

    async def try_kernel(self, digest: str) -> str:
        """Build the parent of the default class with an image; containers are cloned of it."""
        image = await self._images.by_digest(digest)
        await self._parents.ready(self._default_shape(image))
        return image.kernel_release

    def _default_shape(self, image: hostagent_pb2.Bootstrap) -> hostagent_pb2.Shape:
        return hostagent_pb2.Shape(
            memory_mib=DEFAULT_MEMORY_MIB,
            vcpus=1,
            bootstrap_digest=image.digest,
            disk_size_bytes=self._default_disk_bytes,
        )

    async def plug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        """Have the agent plug an endpoint's NIC in."""
        await plug(self._agent, container_id, boot_id, nic(endpoint))

    async def unplug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        """Have the agent take an endpoint's NIC away."""
        await self._agent.UnplugNic(
            hostagent_pb2.UnplugNicRequest(
                machine_id=container_id, launch_id=boot_id, tap_name=endpoint.tap_name
            )
        )

    async def surround(
        self, container_id: str, boot_id: str, around: Surroundings, *, wait: bool
    ) -> None:
        """Have the agent tell the machine's tether, and wait for its word."""
        request = surroundings(around)
        request.machine_id, request.launch_id = container_id, boot_id
        request.wait_milliseconds = SURROUND_MILLISECONDS if wait else 0
        answer = await self._agent.Surround(request)
        if wait and not answer.done:
            raise Unavailable("the VM doesn't take its interfaces", Reason.PLUG_FAILED)

    async def destroy(self, container_id: str, boot_id: str = "", *, wait: bool = True) -> None:
        """Kill the machine; one that isn't there is gone already."""
        self._launching.forget(boot_id)
        request = hostagent_pb2.KillRequest(
            machine_id=container_id, launch_id=boot_id, without_waiting=not wait
        )
        try:
            await self._agent.Kill(request)
        except NotFound:
            return

    async def reweigh(
        self, container_id: str, boot_id: str, resources: container_pb2.Resources
    ) -> None:
        """Have the agent weigh the machine's cgroup anew."""
        await self._agent.Reweigh(
            hostagent_pb2.ReweighRequest(
                machine_id=container_id, launch_id=boot_id, cpu_weight=host_weight(resources)
            )
        )

    async def show_image(self, container_id: str, boot_id: str, chain_length: int) -> int:
        """Have QEMU show the layer below the container's own disk once more, by itself."""
        request = hostagent_pb2.GetRequest(machine_id=container_id)
        machine = (await self._agent.Get(request)).machine
        if machine.launch_id != boot_id:
            raise Unavailable("the VM is another one by now", Reason.HYPERVISOR_FAILED)
        try:
            await show_image(machine.qmp_path, chain_length)
        except TimeoutError as error:
            raise Unavailable("QEMU did not answer", Reason.HYPERVISOR_FAILED) from error
        return IMAGE_LUN

    async def pause(self, container_id: str) -> None:
        """Hold the CPUs."""
        await self._pausing.pause(container_id)

    async def unpause(self, container_id: str) -> None:
        """Let them go on, with a clock that has not stood still."""
        await self._pausing.unpause(container_id)

    async def is_paused(self, container_id: str) -> bool:
        """Ask QEMU whether the CPUs are held."""
        return await self._pausing.is_paused(container_id)

    def check_ready(self, count: int) -> None:
        """Return when the host's memory holds so many. Raises InvalidArgument."""
        self._ready.memory.check(count)

    def clones(self, names: Collection[str]) -> Collection[str]:
        """Return those that have the form of a waiting machine's name."""
        return {name for name in names if name.startswith(READY_PREFIX)}

    async def forsaken(self, clones: Collection[str]) -> Collection[str]:
        """Return those of which the agent has no machine."""
        if not clones:
            return ()
        machines = (await self._agent.List(hostagent_pb2.ListRequest())).machines
        return set(clones) - {machine.machine_id for machine in machines}

    def settled(self, boot_id: str) -> None:
        """Take in that a start has come to its end: what it took from the pool can be replaced."""
        self._ready.let_go(boot_id)

    def keep_ready(self, count: int | None) -> None:
        """Keep so many clones of the default class ready; None is as many as suit the memory."""
        self._ready.want(count)

    async def inventory(self) -> Sequence[MachineState]:
        """Return the machines that run for containers."""
        machines = (await self._agent.List(hostagent_pb2.ListRequest())).machines
        return [
            MachineState(machine.machine_id, machine.launch_id, machine.pid)
            for machine in machines
            if not _is_ours(machine.machine_id)
        ]

    async def usage(self, seconds: float) -> Sequence[Usage]:
        """Measure the machines of containers."""
        running = [(found.container_id, found.boot_id) for found in await self.inventory()]
        return await measure(self._agent, running, seconds)

    async def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield the ends of containers' machines; None where the history ends."""
        request = hostagent_pb2.WatchRequest(after_sequence=after)
        # The number of the newest event when the stream began; None when that was passed.
        newest: int | None = None
        with domain_errors():
            async for response in self._agent.Watch(request, wait_for_ready=True):
                event = response.event
                if response.WhichOneof("message") == "started":
                    newest, sequence = response.started.sequence, after
                else:
                    sequence = event.sequence
                    if event.WhichOneof("kind") == "exited":
                        self._ready.ended(event.machine_id)
                        if not _is_ours(event.machine_id):
                            yield sequence, _exited(event)
                if newest is not None and sequence >= newest:
                    newest = None
                    yield sequence, None

    async def forget_exits(self, through: int) -> None:
        """Let the agent forget events."""
        await self._agent.Acknowledge(hostagent_pb2.AcknowledgeRequest(through_sequence=through))


def _is_ours(machine_id: str) -> bool:
    """Tell whether a machine is a parent, or kept ready, and so no container's."""
    return machine_id.startswith((PREFIX, READY_PREFIX, TEMPLATE_PREFIX))


def _exited(event: hostagent_pb2.Event) -> MachineExited:
    return MachineExited(
        container_id=event.machine_id,
        boot_id=event.launch_id,
        exit_record=event.exited.exit_record,
        detail=_detail(event.exited),
        host_restarted=event.exited.cause == hostagent_pb2.EXIT_CAUSE_HOST_RESTARTED,
    )


def _detail(exited: hostagent_pb2.MachineExited) -> str:
    cause = hostagent_pb2.ExitCause.Name(exited.cause)
    if exited.HasField("signal"):
        return f"{cause}, signal {exited.signal}"
    if exited.HasField("exit_code"):
        return f"{cause}, code {exited.exit_code}"
    return cause
