"""The vsphere driver of exec: one VM of vCenter's for each boot of a container.

A VM is made for a boot and removed after it; what stays of a container is its disk, which is let go
of before its VM is destroyed. It is an instant clone where its host has a frozen parent, and boots
otherwise.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

from pyVmomi import vim
from vic.exec.v1 import container_pb2
from vic.hostagent.v1 import hostagent_pb2_grpc

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    NotImplementedYet,
    Reason,
    VicError,
)
from portlayer.neighbours import Neighbours
from portlayer.vsphere.identity import Identity
from portlayer.vsphere.machines import power_on, reconfigure, suspend
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import Unsure, VCenter
from services.exec.drivers import (
    CreatedMachine,
    HypervisorInfo,
    MachineExited,
    MachineSpec,
    MachineState,
    StartKind,
    Usage,
)
from services.exec.drivers.shapes import MIB, ShapeClass, shape_class
from services.exec.drivers.vsphere.affinity import Affinity
from services.exec.drivers.vsphere.chains import Chains
from services.exec.drivers.vsphere.claims import Claims
from services.exec.drivers.vsphere.found import OFF, SUSPENDED, Found
from services.exec.drivers.vsphere.guests import Guests
from services.exec.drivers.vsphere.hardware import (
    config_spec,
    cpu_shares,
    machine_name,
    own_options,
    plugged,
)
from services.exec.drivers.vsphere.inventory import Inventory
from services.exec.drivers.vsphere.measuring import Meter
from services.exec.drivers.vsphere.parents import Parents
from services.exec.drivers.vsphere.place import Place, check_bootstrap, find_place
from services.exec.drivers.vsphere.placement import host_for
from services.exec.drivers.vsphere.removal import protect, remove
from services.exec.drivers.vsphere.settings import PlaceSettings
from services.exec.limits import Size
from services.exec.resources import host_weight

log = logging.getLogger("vic.exec.vsphere")

# Between attempts to bring DRS rules in step, where vCenter refused, in seconds.
RULES_PAUSE = 10.0


class VsphereHypervisor:
    """Implements :class:`~services.exec.drivers.Hypervisor`, and what it says some can besides."""

    def __init__(
        self,
        vcenter: VCenter,
        place: PlaceSettings,
        instance_id: str,
        issuer: "hostagent_pb2_grpc.IssuerServiceAsyncStub",
        neighbours: Neighbours | None = None,
    ) -> None:
        """``neighbours`` tell replicas of one another."""
        neighbours = neighbours or Neighbours(None)
        self._vcenter = vcenter
        self._place = place
        self._instance_id = instance_id
        self._claims = Claims(neighbours)
        self._inventory = Inventory(vcenter, place.folder, instance_id, self._claims)
        self._parents = Parents(vcenter, self._inventory, place, instance_id, neighbours)
        self._guests = Guests(issuer)
        self._chains = Chains(vcenter, place.folder)
        self._meter = Meter(vcenter)
        self._affinity = Affinity(
            vcenter, instance_id, apart=place.anti_affinity, host_group=place.host_group
        )
        self._rules: asyncio.Task[None] | None = None
        # VMs that ended and could not be removed yet.
        self._left: list[vim.VirtualMachine] = []
        # What clones are told when they are let run, by boot.
        self._to_tell: dict[str, list[vim.option.OptionValue]] = {}

    async def open(self) -> None:
        """Log in, look at the place and follow its VMs. Raises what is wrong with them."""
        await self._vcenter.open()
        await self._vcenter.call(lambda content: find_place(content, self._place))
        await check_bootstrap(self._vcenter, self._place)
        await self._inventory.open()
        if self._place.instant_clone:
            self._parents.prepare(shape_class(container_pb2.Resources()))
        if self._affinity.wanted:
            self._rules = asyncio.create_task(self._keep_rules(), name="DRS rules")

    async def close(self) -> None:
        """Log out; VMs run on."""
        if self._rules is not None:
            self._rules.cancel()
            await asyncio.wait([self._rules])
        await self._parents.close()
        await self._inventory.close()
        await self._claims.close()
        await self._vcenter.close()

    async def info(self) -> HypervisorInfo:
        """Describe the cluster that the pool belongs to."""

        def look(content: vim.ServiceInstanceContent) -> tuple[str, int, int]:
            place = find_place(content, self._place)
            paths = ["summary.numCpuThreads", "summary.effectiveMemory"]
            ((_, told),) = read(content, [place.cluster], vim.ComputeResource, paths)
            about = content.about
            memory = told.get("summary.effectiveMemory", 0) * MIB
            return about.fullName, told.get("summary.numCpuThreads", 0), memory

        name, cpus, memory = await self._vcenter.call(look, repeatable=True)
        return HypervisorInfo(
            driver="vsphere",
            hypervisor=name,
            accelerator="esxi",
            accelerator_reason="the hosts of the cluster",
            kernel_release="",
            cpus=cpus,
            memory_bytes=memory,
        )

    def size(self, resources: container_pb2.Resources) -> Size:
        """Return the size of the class that holds the limits."""
        shape = shape_class(resources)
        return Size(shape.memory_mib * MIB, shape.vcpus)

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        """Clone a frozen parent, or make a VM that boots. One of the same boot is the one."""
        if machine.volumes:
            raise NotImplementedYet("volumes on vSphere: not implemented", option="volumes")
        identity = Identity(self._instance_id, machine.container_id, machine.boot_id)
        shape = shape_class(machine.spec.resources)
        await self._chains.check(machine.disk.chain)
        told = await self._guests.told(machine)
        self._inventory.expect(machine.boot_id)
        try:
            await self._claims.claim(machine.boot_id)
            if await self._inventory.of(machine.container_id, machine.boot_id) is not None:
                return CreatedMachine(0, StartKind.COLD_BOOT)
            await self._free_name(machine)
            clone = self._place.instant_clone and not machine.cold
            if clone and await self._clone(machine, identity, shape):
                self._to_tell[machine.boot_id] = told
                return CreatedMachine(0, StartKind.INSTANT_CLONE)
            await self._make(machine, identity, shape, told)
        except BaseException:
            self._inventory.settle(machine.boot_id)
            await self._claims.release(machine.boot_id)
            raise
        return CreatedMachine(0, StartKind.COLD_BOOT)

    async def _make(
        self,
        machine: MachineSpec,
        identity: Identity,
        shape: ShapeClass,
        told: list[vim.option.OptionValue],
    ) -> None:
        """Make a VM that is off."""

        place = await self._find_place()

        def start(content: vim.ServiceInstanceContent) -> vim.Task:
            spec = config_spec(machine, identity, shape, place)
            spec.extraConfig += told
            task: vim.Task = place.folder.CreateVM_Task(
                config=spec, pool=place.pool, host=host_for(content, place.cluster)
            )
            return task

        vm = await self._vcenter.finish(start, self._is_made(place.folder, machine))
        await protect(self._vcenter, vm)

    async def _clone(self, machine: MachineSpec, identity: Identity, shape: ShapeClass) -> bool:
        """Clone a parent and plug disk and NICs in; return whether that could be done.

        The clone runs, and waits for what it is told.
        """
        parent = await self._parents.take(shape)
        if parent is None:
            return False
        spec = vim.vm.InstantCloneSpec(
            name=machine_name(machine),
            biosUuid=identity.uuid,
            config=own_options(machine, identity),
            location=vim.vm.RelocateSpec(),
        )

        def start(content: vim.ServiceInstanceContent) -> vim.Task:
            place = find_place(content, self._place)
            spec.location = vim.vm.RelocateSpec(folder=place.folder, pool=place.pool)
            task: vim.Task = parent.vm.InstantClone_Task(spec)
            return task

        try:
            vm = await self._vcenter.finish(start, self._is_made(parent.vm, machine))
        except VicError as error:
            log.warning("%s can't be cloned: %s", parent.name, error.message)
            await self._parents.fail(parent)
            return False
        try:
            await self._plug(vm, machine, shape)
            await protect(self._vcenter, vm)
        except BaseException:
            await asyncio.shield(remove(self._vcenter, vm))
            raise
        return True

    async def _find_place(self) -> Place:
        return await self._vcenter.call(
            lambda content: find_place(content, self._place), repeatable=True
        )

    def _is_made(self, on: vim.ManagedEntity, machine: MachineSpec) -> Unsure[vim.VirtualMachine]:
        def look(content: vim.ServiceInstanceContent) -> vim.VirtualMachine | None:
            found = self._inventory.look_for(content, machine.container_id, machine.boot_id)
            return None if found is None else found.vm

        return Unsure(on, look)

    async def _plug(self, vm: vim.VirtualMachine, machine: MachineSpec, shape: ShapeClass) -> None:
        place = await self._find_place()
        shares = cpu_shares(host_weight(machine.spec.resources), shape.vcpus)
        await reconfigure(
            self._vcenter,
            vm,
            lambda devices: vim.vm.ConfigSpec(
                deviceChange=plugged(machine, place, devices), cpuAllocation=shares
            ),
        )

    async def load(self, container_id: str, boot_id: str) -> None:
        """Nothing: a clone has its memory, and a VM that boots has none to load."""

    async def run(self, container_id: str, boot_id: str) -> None:
        """Power the VM on, or tell a clone who it is."""
        vm = await self._known(container_id, boot_id)
        told = self._to_tell.pop(boot_id, None)
        if told is None:
            await power_on(self._vcenter, vm)
        else:
            await reconfigure(self._vcenter, vm, lambda _: vim.vm.ConfigSpec(extraConfig=told))
        self._inventory.begin(vm, boot_id)
        await self._claims.release(boot_id)

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        """Nothing: no VM is kept ready."""

    async def destroy(self, container_id: str, boot_id: str = "", *, wait: bool = True) -> None:
        """Power off and remove a container's VM; its disk stays."""
        try:
            found = await self._inventory.of(container_id, boot_id)
            if found is not None:
                assert found.identity is not None, "of() gives none but ours"
                boot_id = found.identity.boot_id
                await remove(self._vcenter, found.vm)
        finally:
            await self._give_up(boot_id)

    async def pause(self, container_id: str) -> None:
        """Suspend the VM."""
        vm = (await self._running(container_id)).vm
        await suspend(self._vcenter, vm)

    async def unpause(self, container_id: str) -> None:
        """Let it go on."""
        vm = (await self._running(container_id)).vm
        self._inventory.wake(vm)
        await power_on(self._vcenter, vm)

    async def is_paused(self, container_id: str) -> bool:
        """Tell whether the VM is suspended."""
        return bool((await self._running(container_id)).power == SUSPENDED)

    async def reweigh(
        self, container_id: str, boot_id: str, resources: container_pb2.Resources
    ) -> None:
        """Give the VM other CPU shares."""
        vm = await self._known(container_id, boot_id)
        shares = cpu_shares(host_weight(resources), shape_class(resources).vcpus)
        await reconfigure(self._vcenter, vm, lambda _: vim.vm.ConfigSpec(cpuAllocation=shares))

    async def inventory(self) -> Sequence[MachineState]:
        """Return the VMs that have not ended."""
        return [
            MachineState(found.identity.container_id, found.identity.boot_id, 0)
            for found in await self._inventory.read()
            if found.identity is not None
            and found.power != OFF
            and not self._inventory.is_over(found.identity.boot_id)
        ]

    async def usage(self, seconds: float) -> Sequence[Usage]:
        """Ask vCenter's performance manager for the VMs that are on."""
        return await self._meter.measure(await self._inventory.read(), seconds)

    def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield the ends of VMs: powered off or reset by whoever it was, or deleted."""
        return self._inventory.ends(after)

    async def forget_exits(self, through: int) -> None:
        """Remove the VMs that ended."""
        ended, self._left = [*self._left, *self._inventory.take_ended(through)], []
        for vm in ended:
            try:
                await remove(self._vcenter, vm)
            except VicError as error:
                self._left.append(vm)
                log.warning("a VM that ended can't be removed yet: %s", error.message)

    async def _running(self, container_id: str) -> Found:
        found = await self._inventory.of(container_id)
        if found is None or found.power == OFF:
            raise FailedPrecondition(f"container {container_id} has no VM that runs")
        return found

    async def _free_name(self, machine: MachineSpec) -> None:
        """See that no VM has the name: vCenter's own check is not to be relied on.

        A former boot of the container that has ended, and not been removed yet, is removed. Raises
        AlreadyExists or FailedPrecondition.
        """
        name = machine_name(machine)
        found = await self._inventory.of(machine.container_id) or await self._inventory.named(name)
        if found is None:
            return
        if found.identity is None or found.identity.container_id != machine.container_id:
            raise AlreadyExists(
                f"{self._place.folder} has a VM {name} that is not ours",
                Reason.PLATFORM_OBJECT_EXISTS,
            )
        if found.power != OFF and not self._inventory.is_over(found.identity.boot_id):
            raise FailedPrecondition(f"a former VM of container {machine.container_id} still runs")
        try:
            await remove(self._vcenter, found.vm)
        finally:
            await self._give_up(found.identity.boot_id)

    async def _give_up(self, boot_id: str) -> None:
        """Take a boot for one that runs no more, or never will: others may look at it too."""
        self._to_tell.pop(boot_id, None)
        self._inventory.settle(boot_id)
        await self._claims.release(boot_id)

    async def _known(self, container_id: str, boot_id: str) -> vim.VirtualMachine:
        found = await self._inventory.of(container_id, boot_id)
        if found is None:
            raise NotFound(
                f"container {container_id} has no VM of boot {boot_id}", Reason.MACHINE_NOT_FOUND
            )
        return found.vm

    async def _keep_rules(self) -> None:
        """Bring DRS rules in step with our VMs whenever these change."""
        changed = self._inventory.changed
        while True:
            await changed.wait()
            changed.clear()
            try:
                place = await self._find_place()
                machines = [found.vm for found in self._inventory.live()]
                await self._affinity.keep(place.cluster, machines)
            except VicError as error:
                log.warning("DRS rules can't be kept: %s", error.message)
                await asyncio.sleep(RULES_PAUSE)
                changed.set()
