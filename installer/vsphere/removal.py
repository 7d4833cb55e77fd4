"""`vic delete` on vSphere: everything of one VCH, and nothing else.

Each step looks for what is there, so that the whole can be repeated after an interruption. A VM is
the VCH's if its keys and its BIOS UUID say so; a port group, if its description does. What isn't
the VCH's stays, and is named.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pyVmomi import vim

from installer.vsphere import manifest
from installer.vsphere.wishes import Store
from portlayer.errors import FailedPrecondition, NotFound, VicError
from portlayer.vsphere import datastore, methods
from portlayer.vsphere.identity import PREFIX, decode, options
from portlayer.vsphere.lookup import cluster_config, find, find_datacenter
from portlayer.vsphere.machines import destroy, power_off, reconfigure
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.affinity import removal as rules_of
from services.exec.drivers.vsphere.found import OFF, PARENT
from services.exec.drivers.vsphere.hardware import detach_disks
from services.network.drivers.vsphere.portgroups import Portgroups, mark

T = TypeVar("T")
Say = Callable[[str], None]

# VMs that are removed at once.
AT_A_TIME = 8


@dataclass(frozen=True)
class Vch:
    """A VCH as its record has it."""

    id: str
    datacenter: str
    folder: str
    pool: str
    image_store: Store
    switch: str
    bootstrap: str

    @classmethod
    def of(cls, instance_id: str, section: Mapping[str, Any]) -> "Vch":
        """Read a record's section ``vsphere``."""
        return cls(
            id=instance_id,
            datacenter=section["datacenter"],
            folder=section["folder"],
            pool=section["resource_pool"],
            image_store=Store(**section["image_store"]),
            switch=section["switch"],
            bootstrap=section["bootstrap"],
        )


async def machines(vcenter: VCenter, vch: Vch) -> tuple[list[Any], list[Any]]:
    """Return the VCH's container VMs, and the VMs that those are cloned from."""

    def look(content: vim.ServiceInstanceContent) -> tuple[list[Any], list[Any]]:
        containers, parents = [], []
        datacenter = find_datacenter(content, vch.datacenter)
        paths = ["config.uuid", "config.extraConfig"]
        for vm, told in read_below(content, datacenter, vim.VirtualMachine, paths):
            keys = options(told.get("config.extraConfig"))
            if decode(keys, told.get("config.uuid", ""), vch.id) is not None:
                containers.append(vm)
            elif PARENT in keys and keys.get(PREFIX + "instance") == vch.id:
                parents.append(vm)
        return containers, parents

    return await vcenter.call(look, repeatable=True)


async def remove(vcenter: VCenter, vch: Vch, say: Say) -> list[str]:
    """Remove a VCH; return what stays, and why. Raises VicError; then it can be repeated."""
    containers, parents = await machines(vcenter, vch)
    await _in_turns([_remove_machine(vcenter, vm) for vm in (*containers, *parents)])
    if containers:
        say(f"removed {len(containers)} container VMs")
    await _remove_rules(vcenter, vch)
    left = await _remove_port_groups(vcenter, vch)
    others = await manifest.of_others(vcenter, vch.datacenter, vch.image_store, vch.id)
    for path, removal in ((vch.folder, _remove_folder), (vch.pool, _remove_pool)):
        if path in others:
            # Made under the same name when ours was gone.
            say(f"{path} is VCH {others[path]}'s by now, and stays")
        else:
            left += await removal(vcenter, vch)
    if not left:
        # Last: by its file there `vic ls` tells of a VCH that is not gone yet.
        await _remove_files(vcenter, vch)
    return left


async def _in_turns(works: Sequence[Awaitable[None]]) -> None:
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(work: Awaitable[None]) -> None:
        async with room:
            await work

    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(one(work))


async def _remove_machine(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Power a VM off, take its disks from it, which others may share, and destroy it."""
    with suppress(NotFound):
        ((_, told),) = await vcenter.call(
            lambda content: read(content, [vm], vim.VirtualMachine, ["runtime.powerState"]),
            repeatable=True,
        )
        if told["runtime.powerState"] != OFF:
            with suppress(FailedPrecondition):
                await power_off(vcenter, vm)
        await reconfigure(vcenter, vm, _without_disks)
        with suppress(VicError):  # Who may not do it could not disable anything either.
            await vcenter.call(lambda content: methods.enable(content, vm))
        await destroy(vcenter, vm)


def _without_disks(devices: Sequence[vim.vm.device.VirtualDevice]) -> vim.vm.ConfigSpec | None:
    changes = detach_disks(devices)
    return vim.vm.ConfigSpec(deviceChange=changes) if changes else None


async def _remove_rules(vcenter: VCenter, vch: Vch) -> None:
    def start(content: vim.ServiceInstanceContent) -> vim.Task | None:
        pool = find(content, vch.pool)
        if not isinstance(pool, vim.ResourcePool):
            return None
        ((_, told),) = read(content, [pool], vim.ResourcePool, ["owner"])
        cluster = told["owner"]
        if not isinstance(cluster, vim.ClusterComputeResource):
            return None
        spec = rules_of(cluster_config(content, cluster), vch.id)
        if spec is None:
            return None
        task: vim.Task = cluster.ReconfigureComputeResource_Task(spec, modify=True)
        return task

    await vcenter.finish(start)


async def _remove_port_groups(vcenter: VCenter, vch: Vch) -> list[str]:
    if not vch.switch:
        return []
    groups = Portgroups(vcenter, vch.folder, vch.switch, range(0))
    left = []
    for group in await groups.of_switch():
        if group.description != mark(vch.id):
            continue
        try:
            await groups.remove(group.name, mark(vch.id))
        except FailedPrecondition as error:
            left.append(error.message)
    return left


async def _remove_files(vcenter: VCenter, vch: Vch) -> None:
    """Remove what the VCH has in its image store; layers and media that others use stay."""
    store, datacenter = vch.image_store, vch.datacenter
    await datastore.delete(vcenter, datacenter, store.below("vic/containers", vch.id))
    await manifest.remove(vcenter, datacenter, store, vch.id)
    others = await manifest.of_store(vcenter, datacenter, store)
    if any(other.bootstrap == vch.bootstrap for other in others):
        return
    await datastore.delete(vcenter, datacenter, vch.bootstrap)
    if not others:
        # The last VCH of this store; directories that hold anything else stay.
        for directory in ("vic/vchs", "vic/bootstrap", "vic/containers", "vic"):
            path = store.below(directory)
            if not await datastore.list_files(vcenter, datacenter, path):
                await datastore.delete(vcenter, datacenter, path)


async def _remove_folder(vcenter: VCenter, vch: Vch) -> list[str]:
    def look(content: vim.ServiceInstanceContent) -> tuple[vim.Folder | None, list[str]]:
        folder = find(content, vch.folder)
        if not isinstance(folder, vim.Folder):
            return None, []
        held = read_below(content, folder, vim.ManagedEntity, ["name"])
        return folder, sorted(told["name"] for _, told in held)

    folder, names = await vcenter.call(look, repeatable=True)
    if names:
        return [f"folder {vch.folder} holds {', '.join(names)}"]
    if folder is not None:
        await vcenter.finish(lambda _: folder.Destroy_Task())
    return []


async def _remove_pool(vcenter: VCenter, vch: Vch) -> list[str]:
    """Remove the pool: vCenter would move what is left in it to the pool above."""

    def look(content: vim.ServiceInstanceContent) -> tuple[vim.ResourcePool | None, list[str]]:
        pool = find(content, vch.pool)
        if not isinstance(pool, vim.ResourcePool):
            return None, []
        ((_, told),) = read(content, [pool], vim.ResourcePool, ["vm", "resourcePool"])
        held = read(content, told.get("vm") or [], vim.VirtualMachine, ["name"])
        nested = read(content, told.get("resourcePool") or [], vim.ResourcePool, ["name"])
        return pool, sorted(entry["name"] for _, entry in (*held, *nested))

    pool, names = await vcenter.call(look, repeatable=True)
    if names:
        return [f"resource pool {vch.pool} holds {', '.join(names)}"]
    if pool is not None:
        await vcenter.finish(lambda _: pool.Destroy_Task())
    return []
