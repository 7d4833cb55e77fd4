"""The vsphere driver of exec: one VM of vCenter's for each boot of a container.

A VM is made for a boot and removed after it, as a clone is; what stays of a container is its disk,
which is let go of before its VM is destroyed.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from pyVmomi import vim
from vic.exec.v1 import container_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    NotImplementedYet,
    Reason,
    VicError,
)
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter
from services.exec.drivers import (
    CreatedMachine,
    HypervisorInfo,
    MachineExited,
    MachineSpec,
    MachineState,
    StartKind,
)
from services.exec.drivers.shapes import MIB, shape_class
from services.exec.drivers.vsphere.hardware import config_spec, detach_disks, machine_name
from services.exec.drivers.vsphere.identity import Identity
from services.exec.drivers.vsphere.inventory import OFF, Found, Inventory
from services.exec.drivers.vsphere.place import PlaceSettings, find_place
from services.exec.limits import Size

log = logging.getLogger("vic.exec.vsphere")


class VsphereHypervisor:
    """Implements :class:`~services.exec.drivers.Hypervisor` and ``CanPause``."""

    def __init__(self, vcenter: VCenter, place: PlaceSettings, instance_id: str) -> None:
        self._vcenter = vcenter
        self._place = place
        self._instance_id = instance_id
        self._inventory = Inventory(vcenter, place.folder, instance_id)

    async def open(self) -> None:
        """Log in, look at the place and follow its VMs. Raises what is wrong with them."""
        await self._vcenter.open()
        await self._vcenter.call(lambda content: find_place(content, self._place))
        await self._inventory.open()

    async def close(self) -> None:
        """Log out; VMs run on."""
        await self._inventory.close()
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
        """Make a VM that is off. One of the same boot that is there already is the one."""
        if machine.spec.mounts:
            raise NotImplementedYet(
                "volumes and tmpfs on vSphere: not implemented", option="mounts"
            )
        identity = Identity(self._instance_id, machine.container_id, machine.boot_id)
        self._inventory.expect(machine.boot_id)
        if await self._find(identity) is not None:
            return CreatedMachine(0, StartKind.COLD_BOOT)
        await self._free_name(machine)

        def start(content: vim.ServiceInstanceContent) -> vim.Task:
            place = find_place(content, self._place)
            spec = config_spec(machine, identity, shape_class(machine.spec.resources), place)
            task: vim.Task = place.folder.CreateVM_Task(config=spec, pool=place.pool)
            return task

        try:
            await self._vcenter.finish(start)
        except BaseException:
            self._inventory.settle(machine.boot_id)
            raise
        return CreatedMachine(0, StartKind.COLD_BOOT)

    async def load(self, container_id: str, boot_id: str) -> None:
        """Nothing: a VM that boots has nothing to load."""

    async def run(self, container_id: str, boot_id: str) -> None:
        """Power the VM on."""
        vm = await self._known(Identity(self._instance_id, container_id, boot_id))
        await self._vcenter.finish(lambda _: vm.PowerOnVM_Task())
        self._inventory.settle(boot_id)

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        """Nothing: no VM is kept ready."""

    async def destroy(self, container_id: str, boot_id: str = "") -> None:
        """Power off and remove a container's VMs; its disk stays."""
        for found in await self._inventory.of(container_id, boot_id):
            await self._remove(found.vm)
        self._inventory.settle(boot_id)

    async def pause(self, container_id: str) -> None:
        """Suspend the VM."""
        vm = (await self._running(container_id)).vm
        await self._vcenter.finish(lambda _: vm.SuspendVM_Task())

    async def unpause(self, container_id: str) -> None:
        """Let it go on."""
        vm = (await self._running(container_id)).vm
        await self._vcenter.finish(lambda _: vm.PowerOnVM_Task())

    async def inventory(self) -> Sequence[MachineState]:
        """Return the VMs that have not ended."""
        return [
            MachineState(found.identity.container_id, found.identity.boot_id, 0)
            for found in await self._inventory.read()
            if found.identity is not None and found.power != OFF
        ]

    def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield the ends of VMs: powered off by whoever it was, or deleted."""
        return self._inventory.ends(after)

    async def forget_exits(self, through: int) -> None:
        """Remove the VMs that ended."""
        for vm in self._inventory.take_ended(through):
            try:
                await self._remove(vm)
            except VicError as error:
                log.warning("a VM that ended can't be removed yet: %s", error.message)

    async def _running(self, container_id: str) -> Found:
        found = next((f for f in await self._inventory.of(container_id) if f.power != OFF), None)
        if found is None:
            raise FailedPrecondition(f"container {container_id} has no VM that runs")
        return found

    async def _free_name(self, machine: MachineSpec) -> None:
        """See that no VM has the name: vCenter's own check is not to be relied on.

        A former boot of the container that has ended, and not been removed yet, is removed. Raises
        AlreadyExists or FailedPrecondition.
        """
        name = machine_name(machine)
        found = await self._inventory.named(name)
        if found is None:
            return
        if found.identity is None or found.identity.container_id != machine.container_id:
            raise AlreadyExists(
                f"{self._place.folder} has a VM {name} that is not ours",
                Reason.PLATFORM_OBJECT_EXISTS,
            )
        if found.power != OFF:
            raise FailedPrecondition(f"a former VM of container {machine.container_id} still runs")
        await self._remove(found.vm)

    async def _find(self, identity: Identity) -> vim.VirtualMachine | None:
        """Ask vCenter itself: our view of it may be a moment behind."""

        def look(content: vim.ServiceInstanceContent) -> vim.ManagedEntity | None:
            index = content.searchIndex
            assert index is not None, "every vCenter has one"
            return index.FindByUuid(None, identity.instance_uuid, True, True)

        found = await self._vcenter.call(look, repeatable=True)
        return found if isinstance(found, vim.VirtualMachine) else None

    async def _known(self, identity: Identity) -> vim.VirtualMachine:
        vm = await self._find(identity)
        if vm is None:
            raise NotFound(
                f"container {identity.container_id} has no VM of boot {identity.boot_id}",
                Reason.MACHINE_NOT_FOUND,
            )
        return vm

    async def _remove(self, vm: vim.VirtualMachine) -> None:
        """Power a VM off, take its disks from it, and destroy it. Idempotent."""
        with suppress(NotFound):
            ((_, told),) = await self._vcenter.call(
                lambda content: read(content, [vm], vim.VirtualMachine, ["runtime.powerState"]),
                repeatable=True,
            )
            if told["runtime.powerState"] != OFF:
                with suppress(FailedPrecondition):  # It ended by itself meanwhile.
                    await self._vcenter.finish(lambda _: vm.PowerOffVM_Task())
            await self._vcenter.finish(partial(_let_go, vm))
            await self._vcenter.finish(lambda _: vm.Destroy_Task())


def _let_go(vm: vim.VirtualMachine, content: vim.ServiceInstanceContent) -> vim.Task:
    """Begin to take a VM's disks away, if it is still what was looked at."""
    paths = ["config.hardware.device", "config.changeVersion"]
    ((_, told),) = read(content, [vm], vim.VirtualMachine, paths)
    spec = vim.vm.ConfigSpec(
        changeVersion=told.get("config.changeVersion"),
        deviceChange=detach_disks(told["config.hardware.device"]),
    )
    task: vim.Task = vm.ReconfigVM_Task(spec)
    return task
