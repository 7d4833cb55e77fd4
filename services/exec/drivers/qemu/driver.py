"""The qemu driver of exec: the host agent launches, this speaks QMP to what it launched."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

from vic.exec.v1 import container_pb2
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import (
    FailedPrecondition,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
    domain_errors,
)
from services.exec.drivers import (
    CreatedMachine,
    HypervisorInfo,
    MachineExited,
    MachineSpec,
    MachineState,
    StartKind,
)
from services.exec.drivers.qemu.guest import guest_config, nics
from services.exec.drivers.qemu.parents import CAPABILITIES, PREFIX, Parents
from services.exec.drivers.qemu.qmp import QmpError, connect
from services.exec.drivers.qemu.shapes import DEFAULT_MEMORY_MIB, MIB, shape_class
from services.exec.limits import Size

log = logging.getLogger("vic.exec.qemu")

LOAD_SECONDS = 60.0
# To hold CPUs or let them go on, which QEMU does at once; on a busy host it may not be scheduled.
COMMAND_SECONDS = 30.0
_ACCELERATORS = {
    hostagent_pb2.ACCELERATOR_KVM: "kvm",
    hostagent_pb2.ACCELERATOR_TCG: "tcg",
}


class QemuHypervisor:
    """Implements :class:`~services.exec.drivers.Hypervisor` and ``CanPause``."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        *,
        bootstrap_digest: str,
        default_disk_bytes: int,
    ) -> None:
        self._agent = agent
        self._bootstrap_digest = bootstrap_digest
        self._default_disk_bytes = default_disk_bytes
        self._parents = Parents(agent)
        # Machines of this process that were created and don't run yet, by boot.
        self._created: dict[str, hostagent_pb2.RunningMachine] = {}
        self._warm_up: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Build the default class's parent in the background, so that the first start is quick."""
        self._warm_up = asyncio.create_task(self._build_default(), name="default parent")

    async def _build_default(self) -> None:
        try:
            digest = (await self._bootstrap()).digest
            await self._parents.ready(
                hostagent_pb2.Shape(
                    memory_mib=DEFAULT_MEMORY_MIB,
                    vcpus=1,
                    bootstrap_digest=digest,
                    disk_size_bytes=self._default_disk_bytes,
                )
            )
        except VicError as error:
            log.warning("cannot build the default parent: %s", error.message)

    async def close(self) -> None:
        """Give up builds in hand; VMs run on."""
        if self._warm_up is not None:
            self._warm_up.cancel()
            await asyncio.wait([self._warm_up])
        await self._parents.close()

    async def info(self) -> HypervisorInfo:
        """Describe the host."""
        info = await self._agent.Info(hostagent_pb2.InfoRequest())
        releases = {b.digest: b.kernel_release for b in info.bootstraps}
        digest = self._bootstrap_digest or next(iter(releases), "")
        return HypervisorInfo(
            driver="qemu",
            hypervisor=f"QEMU {info.qemu_version}",
            accelerator=_ACCELERATORS.get(info.accelerator, "undecided"),
            accelerator_reason=info.accelerator_reason,
            kernel_release=releases.get(digest, ""),
            cpus=info.host_cpus,
            memory_bytes=info.host_memory_bytes,
        )

    def size(self, resources: container_pb2.Resources) -> Size:
        """Return the size of the class that holds the limits."""
        shape = shape_class(resources)
        return Size(shape.memory_mib * MIB, shape.vcpus)

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        """Launch a clone of the shape's parent, or a machine of its own where that can't be."""
        shape = await self._shape(machine)
        if not machine.cold:
            try:
                parent_id = await self._parents.ready(shape)
                running = await self._launch(machine, shape, parent_id)
            except ResourceExhausted:
                raise
            except VicError as error:
                self._parents.doubt()
                log.warning("no clone for %s: %s", machine.container_id, error.message)
            else:
                return CreatedMachine(running.pid, StartKind.INSTANT_CLONE)
        running = await self._launch(machine, shape, "")
        return CreatedMachine(running.pid, StartKind.COLD_BOOT)

    async def _shape(self, machine: MachineSpec) -> hostagent_pb2.Shape:
        wanted = shape_class(machine.spec.resources)
        return hostagent_pb2.Shape(
            memory_mib=wanted.memory_mib,
            vcpus=wanted.vcpus,
            bootstrap_digest=(await self._bootstrap()).digest,
            disk_size_bytes=machine.disk.virtual_size_bytes,
        )

    async def _bootstrap(self) -> hostagent_pb2.Bootstrap:
        """Return the bootstrap image to boot: the configured one, or the only one there is."""
        if self._bootstrap_digest:
            return hostagent_pb2.Bootstrap(digest=self._bootstrap_digest)
        info = await self._agent.Info(hostagent_pb2.InfoRequest(), wait_for_ready=True)
        if len(info.bootstraps) != 1:
            raise FailedPrecondition(
                f"{len(info.bootstraps)} bootstrap images are there: "
                "the setting bootstrap_digest must name one",
                Reason.HYPERVISOR_FAILED,
            )
        self._bootstrap_digest = info.bootstraps[0].digest
        return info.bootstraps[0]

    async def _launch(
        self, machine: MachineSpec, shape: hostagent_pb2.Shape, parent_id: str
    ) -> hostagent_pb2.RunningMachine:
        clone = hostagent_pb2.MACHINE_KIND_CLONE
        kind = clone if parent_id else hostagent_pb2.MACHINE_KIND_COLD
        request = hostagent_pb2.LaunchRequest(
            machine=hostagent_pb2.Machine(
                machine_id=machine.container_id,
                launch_id=machine.boot_id,
                kind=kind,
                shape=shape,
                parent_id=parent_id,
                disk_chain=machine.disk.chain,
                nics=nics(machine),
                guest=guest_config(machine),
            )
        )
        running = (await self._agent.Launch(request)).machine
        self._created[machine.boot_id] = running
        return running

    async def load(self, container_id: str, boot_id: str) -> None:
        """Load a clone's device state; a machine that boots has nothing to load."""
        machine = self._created[boot_id]
        if machine.kind != hostagent_pb2.MACHINE_KIND_CLONE:
            return
        try:
            async with asyncio.timeout(LOAD_SECONDS), connect(machine.qmp_path) as qmp:
                await qmp.execute("migrate-set-capabilities", {"capabilities": CAPABILITIES})
                await qmp.execute("migrate-incoming", {"uri": machine.incoming_uri})
                await qmp.wait_for_migration()
        except (QmpError, TimeoutError) as error:
            await self._parents.discard(machine.parent_id)
            raise Unavailable(
                f"the VM could not be cloned: {error}", Reason.CLONE_FAILED
            ) from error

    async def run(self, container_id: str, boot_id: str) -> None:
        """Let a clone's CPUs run; a machine that boots runs already."""
        machine = self._created.pop(boot_id)
        if machine.kind != hostagent_pb2.MACHINE_KIND_CLONE:
            return
        await _execute(machine.qmp_path, "cont")

    async def destroy(self, container_id: str, boot_id: str = "") -> None:
        """Kill the machine; one that isn't there is gone already."""
        self._created.pop(boot_id, None)
        request = hostagent_pb2.KillRequest(machine_id=container_id, launch_id=boot_id)
        try:
            await self._agent.Kill(request)
        except NotFound:
            return

    async def pause(self, container_id: str) -> None:
        """Hold the CPUs."""
        await self._command(container_id, "stop")

    async def unpause(self, container_id: str) -> None:
        """Let them go on."""
        await self._command(container_id, "cont")

    async def _command(self, container_id: str, command: str) -> None:
        request = hostagent_pb2.GetRequest(machine_id=container_id)
        machine = (await self._agent.Get(request)).machine
        await _execute(machine.qmp_path, command)

    async def inventory(self) -> Sequence[MachineState]:
        """Return the machines that run, parents left out."""
        machines = (await self._agent.List(hostagent_pb2.ListRequest())).machines
        return [
            MachineState(machine.machine_id, machine.launch_id, machine.pid)
            for machine in machines
            if not _is_parent(machine.machine_id)
        ]

    async def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield the ends of machines, parents left out; None where the history ends."""
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
                    if event.WhichOneof("kind") == "exited" and not _is_parent(event.machine_id):
                        yield sequence, _exited(event)
                if newest is not None and sequence >= newest:
                    newest = None
                    yield sequence, None

    async def forget_exits(self, through: int) -> None:
        """Let the agent forget events."""
        await self._agent.Acknowledge(hostagent_pb2.AcknowledgeRequest(through_sequence=through))


async def _execute(qmp_path: str, command: str) -> None:
    """Have QEMU do a command. Raises QmpError, also when it doesn't answer in time."""
    try:
        async with asyncio.timeout(COMMAND_SECONDS), connect(qmp_path) as qmp:
            await qmp.execute(command)
    except TimeoutError as error:
        raise QmpError(f"{command}: QEMU did not answer") from error


def _is_parent(machine_id: str) -> bool:
    return machine_id.startswith(PREFIX)


def _exited(event: hostagent_pb2.Event) -> MachineExited:
    return MachineExited(
        container_id=event.machine_id,
        boot_id=event.launch_id,
        exit_record=event.exited.exit_record,
        detail=_detail(event.exited),
    )


def _detail(exited: hostagent_pb2.MachineExited) -> str:
    cause = hostagent_pb2.ExitCause.Name(exited.cause)
    if exited.HasField("signal"):
        return f"{cause}, signal {exited.signal}"
    if exited.HasField("exit_code"):
        return f"{cause}, code {exited.exit_code}"
    return cause
