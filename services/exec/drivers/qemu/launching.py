"""How a container's machine begins: of a ready clone, of its shape's parent, or by a boot.

From :meth:`Launching.create` until its CPUs run, in steps, so that it can be connected between.
"""

import logging
from dataclasses import replace

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
)
from services.exec.drivers import CreatedMachine, MachineSpec, StartKind
from services.exec.drivers.guest import guest_config
from services.exec.drivers.qemu.images import BootstrapImages
from services.exec.drivers.qemu.parents import Parents, load_clone
from services.exec.drivers.qemu.patience import LAUNCH_SECONDS
from services.exec.drivers.qemu.qmp import QmpError, command
from services.exec.drivers.qemu.ready import ReadyClones
from services.exec.drivers.qemu.taps import PLACED_NICS, has_tap, nics
from services.exec.drivers.shapes import shape_class
from services.exec.resources import host_weight

log = logging.getLogger("vic.exec.qemu.launching")


class Launching:
    """Machines of this process that begin."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        images: BootstrapImages,
        parents: Parents,
        ready: ReadyClones,
    ) -> None:
        self._agent = agent
        self._images = images
        self._parents = parents
        self._ready = ready
        # Those that were created and don't run yet, by boot, and the NICs that they don't have yet.
        self._created: dict[str, hostagent_pb2.RunningMachine] = {}
        self._further: dict[str, list[hostagent_pb2.Nic]] = {}

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        """Take a ready clone, launch one of the shape's parent, or boot where that can't be."""
        shape = await self._shape(machine)
        self._ready.hold_back(machine.boot_id)
        if not machine.cold:
            created = await self._use_ready(machine, shape)
            if created is not None:
                return created
            try:
                running = await self._clone(machine, shape)
            except ResourceExhausted:
                raise
            except VicError as error:
                self._parents.doubt()
                log.warning("no clone for %s: %s", machine.container_id, error.message)
            else:
                return CreatedMachine(running.pid, StartKind.INSTANT_CLONE)
        running = await self._launch(machine, shape, "")
        return CreatedMachine(running.pid, StartKind.COLD_BOOT)

    async def _use_ready(
        self, machine: MachineSpec, shape: hostagent_pb2.Shape
    ) -> CreatedMachine | None:
        """Make a clone that waits the container's, where there is one that can be used."""
        ready = await self._ready.take(shape)
        if ready is None:
            return None
        if ready.place is not None:
            # It keeps the management NIC with which it is connected.
            others = [endpoint for endpoint in machine.endpoints if not endpoint.management]
            machine = replace(machine, endpoints=[ready.place.endpoint, *others])
        try:
            running = await self._launch(machine, shape, ready.parent_id, ready.machine_id)
            tether_id = "" if ready.place is None else ready.machine_id
            return CreatedMachine(running.pid, StartKind.READY_CLONE, tether_id)
        except AlreadyExists:
            # The container's fault, not the clone's.
            self._ready.give_back(ready)
            raise
        except VicError as error:
            log.info("a ready clone can't be used for %s: %s", machine.container_id, error.message)
            self._ready.give_up(ready.machine_id)
            if isinstance(error, FailedPrecondition | NotFound):
                await self._look_again()
            return None
        except BaseException:
            self._ready.give_up(ready.machine_id)
            raise

    async def _clone(
        self, machine: MachineSpec, shape: hostagent_pb2.Shape
    ) -> hostagent_pb2.RunningMachine:
        """Launch a clone of the shape's parent; of another one where that is out of date."""
        parent_id = await self._parents.ready(shape)
        try:
            return await self._launch(machine, shape, parent_id)
        except (FailedPrecondition, NotFound) as error:
            log.info("no clone of %s: %s", parent_id, error.message)
        await self._look_again()
        return await self._launch(machine, shape, await self._parents.ready(shape))

    async def _look_again(self) -> None:
        """Find out which parents there are, and what waits in vain: a clone was refused.

        QEMU has been upgraded, say. Where it was the container's own fault nothing is lost.
        """
        self._parents.doubt()
        await self._ready.weed()

    async def _shape(self, machine: MachineSpec) -> hostagent_pb2.Shape:
        wanted = shape_class(machine.spec.resources)
        return hostagent_pb2.Shape(
            memory_mib=wanted.memory_mib,
            vcpus=wanted.vcpus,
            bootstrap_digest=(await self._images.of(machine.kernel)).digest,
            disk_size_bytes=machine.disk.virtual_size_bytes,
        )

    async def _launch(
        self,
        machine: MachineSpec,
        shape: hostagent_pb2.Shape,
        parent_id: str,
        ready_id: str = "",
    ) -> hostagent_pb2.RunningMachine:
        clone = hostagent_pb2.MACHINE_KIND_CLONE
        kind = clone if parent_id else hostagent_pb2.MACHINE_KIND_COLD
        cards = nics(machine)
        request = hostagent_pb2.LaunchRequest(
            machine=hostagent_pb2.Machine(
                machine_id=machine.container_id,
                launch_id=machine.boot_id,
                kind=kind,
                shape=shape,
                parent_id=parent_id,
                disk_chain=machine.disk.chain,
                nics=cards[:PLACED_NICS],
                guest=guest_config(machine, has_tap),
                volumes=[
                    hostagent_pb2.VolumeDisk(
                        path=disk.path, read_only=disk.read_only, size_bytes=disk.size_bytes
                    )
                    for disk in machine.volumes
                ],
                cpu_weight=host_weight(machine.spec.resources),
            ),
            ready_id=ready_id,
        )
        running = (await self._agent.Launch(request, timeout=LAUNCH_SECONDS)).machine
        self._created[machine.boot_id] = running
        self._further[machine.boot_id] = cards[PLACED_NICS:]
        return running

    async def load(self, container_id: str, boot_id: str) -> None:
        """Load a clone's device state, and plug in what NICs its parent doesn't have.

        A machine that boots has nothing to load, and finds them as they come.
        """
        machine = self._there(boot_id)
        if machine.incoming_uri:
            try:
                await load_clone(machine)
            except (QmpError, TimeoutError) as error:
                # One that is being ended says nothing of its parent.
                self._there(boot_id)
                if isinstance(error, QmpError):
                    # A host that is slow says nothing of the parent.
                    await self._parents.failed(machine.parent_id)
                raise Unavailable(
                    f"the VM could not be cloned: {error}", Reason.CLONE_FAILED
                ) from error
            self._parents.worked(machine.parent_id)
        for card in self._further.pop(boot_id, ()):
            await plug(self._agent, container_id, boot_id, card)

    async def run(self, boot_id: str) -> None:
        """Let a clone's CPUs run; a machine that boots runs already."""
        machine = self._there(boot_id)
        try:
            if machine.kind == hostagent_pb2.MACHINE_KIND_CLONE:
                await command(machine.qmp_path, "cont")
        except QmpError as error:
            self._there(boot_id)
            if machine.incoming_uri:
                raise
            raise self._does_not_go_on(error.message) from error
        finally:
            self._created.pop(boot_id, None)

    def _there(self, boot_id: str) -> hostagent_pb2.RunningMachine:
        """Return a machine that begins. Raises Unavailable where it is being ended meanwhile."""
        if boot_id not in self._created:
            raise Unavailable("the VM ended while it started", Reason.HYPERVISOR_FAILED)
        return self._created[boot_id]

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        """Raise CLONE_FAILED where the tether of a ready clone has not taken its identity yet."""
        try:
            machine = (
                await self._agent.Get(hostagent_pb2.GetRequest(machine_id=container_id))
            ).machine
        except VicError as error:
            # It has ended, or the agent is away; what waits for the tether has a bound of its own.
            log.info("nothing is known of the tether of %s: %s", container_id, error.message)
            return
        same = machine.launch_id == boot_id
        if same and machine.tether.state != hostagent_pb2.TETHER_STATE_CONFIGURED:
            raise self._does_not_go_on("its tether is silent")

    def _does_not_go_on(self, why: str) -> Unavailable:
        """Count a ready clone that was used in vain, and return the error that says so."""
        self._ready.failed += 1
        return Unavailable(
            f"the ready clone does not go on: {why}",
            Reason.CLONE_FAILED,
            start=StartKind.READY_CLONE.name,
        )

    def forget(self, boot_id: str) -> None:
        """Take in that a machine is being ended. Idempotent."""
        self._created.pop(boot_id, None)
        self._further.pop(boot_id, None)
        self._ready.let_go(boot_id)


async def plug(
    agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
    container_id: str,
    boot_id: str,
    card: hostagent_pb2.Nic,
) -> None:
    """Have the agent plug a NIC into a machine that is there."""
    await agent.PlugNic(
        hostagent_pb2.PlugNicRequest(machine_id=container_id, launch_id=boot_id, nic=card)
    )
