"""`vic delete`, `configure`, `inspect`, `ls` and `role` on a vCenter."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pyVmomi import vim, vmodl
from vic.exec.v1 import exec_pb2

from installer.errors import PreconditionError
from installer.instance import Instance
from installer.vsphere import manifest
from installer.vsphere.creation import pool_spec
from installer.vsphere.removal import Vch, machines, remove
from installer.vsphere.role import EVERYWHERE, ensure_role
from installer.vsphere.session import with_vcenter
from installer.vsphere.wishes import VchLimits
from portlayer.vsphere.lookup import find
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter
from portlayer.vsphere.settings import VCenterSettings
from portlayer.vsphere.target import Target
from services.exec.drivers.shapes import MIB

Say = Callable[[str], None]
T = TypeVar("T")

_HEADER = ("ID", "NAME", "POOL", "FOLDER")


def target_of(instance: Instance) -> Target:
    """Return the vCenter of an instance. Raises PreconditionError without its credentials."""
    target = VCenterSettings.model_validate(dict(instance.options.vsphere)).target()
    for file in (target.password_file, target.certificate_file):
        if file is not None and not file.is_file():
            raise PreconditionError(
                f"the {file.name} for vCenter is not in {file} any more; put it there"
            )
    return target


def with_vch(instance: Instance, work: Callable[[VCenter], Awaitable[T]]) -> T:
    """Do work in a session with the vCenter of an instance. Raises InstallerError."""
    return with_vcenter(target_of(instance), work, made=True)


def check_unused(instance: Instance) -> None:
    """Raise PreconditionError where a VCH has containers."""

    async def count(vcenter: VCenter) -> int:
        containers, _ = await machines(vcenter, _vch(instance))
        return len(containers)

    number = with_vch(instance, count)
    if number:
        raise PreconditionError(
            f"VCH {instance.options.name} has {number} container VMs; --force deletes them too"
        )


def remove_vch(instance: Instance, say: Say) -> list[str]:
    """Remove a VCH from its vCenter; return what stays, and why. Raises InstallerError."""

    async def work(vcenter: VCenter) -> list[str]:
        return await remove(vcenter, _vch(instance), say)

    return with_vch(instance, work)


def set_pool_limits(instance: Instance, request: exec_pb2.ConfigureRequest) -> None:
    """Give the VCH's pool the limits that a request has; those that it leaves out stay."""
    memory = request.memory_bytes if request.HasField("memory_bytes") else None
    cpus = request.cpus if request.HasField("cpus") else None
    if memory is None and cpus is None:
        return
    path = instance.options.vsphere["resource_pool"]

    async def work(vcenter: VCenter) -> None:
        def change(content: vim.ServiceInstanceContent) -> None:
            pool = find(content, path)
            if not isinstance(pool, vim.ResourcePool):
                raise PreconditionError(f"there is no resource pool {path} any more")
            mhz = _mhz(content, pool)
            wished = pool_spec(VchLimits(memory_bytes=memory or 0, cpus=cpus or 0), mhz)
            paths = ["config.memoryAllocation", "config.cpuAllocation", "config.changeVersion"]
            ((_, told),) = read(content, [pool], vim.ResourcePool, paths)
            # Shares and reservations are its administrator's, and a limit that isn't asked for.
            of_memory, of_cpus = told[paths[0]], told[paths[1]]
            if memory is not None:
                of_memory.limit = wished.memoryAllocation.limit
            if cpus is not None:
                of_cpus.limit = wished.cpuAllocation.limit
            spec = vim.ResourceConfigSpec(
                memoryAllocation=of_memory, cpuAllocation=of_cpus, changeVersion=told.get(paths[2])
            )
            pool.UpdateConfig(name=None, config=spec)

        await vcenter.call(change)

    with_vch(instance, work)


def inspect(instance: Instance) -> dict[str, Any]:
    """Return what a VCH is, and what its vCenter has of it."""
    vch = _vch(instance)

    async def work(vcenter: VCenter) -> dict[str, Any]:
        containers, parents = await machines(vcenter, vch)

        def look(content: vim.ServiceInstanceContent) -> dict[str, Any]:
            pool = find(content, vch.pool)
            if not isinstance(pool, vim.ResourcePool):
                return {"there": False}
            paths = ["config.memoryAllocation.limit", "config.cpuAllocation.limit"]
            ((_, told),) = read(content, [pool], vim.ResourcePool, paths)
            memory, cpu = (told.get(path, -1) for path in paths)
            return {
                "there": True,
                "memory_limit_bytes": max(memory, 0) * MIB,
                "cpu_limit_mhz": max(cpu, 0),
            }

        return {
            "vcenter": vcenter.version,
            "pool_state": await vcenter.call(look, repeatable=True),
            "folder_there": await vcenter.call(
                lambda content: find(content, vch.folder) is not None, repeatable=True
            ),
            "container_vms": len(containers),
            "machines": await vcenter.call(
                lambda content: _standing(content, containers), repeatable=True
            ),
            "clone_parents": len(parents),
        }

    found = with_vch(instance, work)
    hidden = ("password_file", "certificate_file")
    shown = {k: v for k, v in instance.options.vsphere.items() if k not in hidden}
    return {**shown, **found}


def list_vchs(target: Target) -> str:
    """Return the VCHs of a vCenter for people, with a heading."""
    found = with_vcenter(target, manifest.of_vcenter)
    rows = [_HEADER, *((m.id, m.name, m.pool, m.folder) for _, m in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    return "\n".join(
        "  ".join((*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]))
        for row in rows
    )


def make_role(target: Target, name: str) -> str:
    """Make the role on a vCenter; return what was done."""

    async def work(vcenter: VCenter) -> str:
        return await vcenter.call(lambda content: ensure_role(content, name))

    return with_vcenter(target, work)


def role_text() -> str:
    """Return the privileges for people, and where they are needed."""
    lines = []
    for where, privileges in EVERYWHERE.items():
        lines.append(f"on {where}:")
        lines += [f"  {privilege}" for privilege in privileges]
    return "\n".join(lines)


def to_json(found: dict[str, Any]) -> str:
    """Return what was found for programs."""
    return json.dumps(found, indent=2)


def _vch(instance: Instance) -> Vch:
    return Vch.of(instance.id, instance.options.vsphere)


def _standing(
    content: vim.ServiceInstanceContent, machines: Sequence[vim.VirtualMachine]
) -> list[dict[str, str]]:
    """Return where container VMs are now, and whether they run. One that went meanwhile is none."""
    paths = ["name", "runtime.powerState", "runtime.host"]
    try:
        found = [told for _, told in read(content, machines, vim.VirtualMachine, paths)]
    except vmodl.fault.ManagedObjectNotFound:
        found = []
        for machine in machines:
            with suppress(vmodl.fault.ManagedObjectNotFound):
                found += [told for _, told in read(content, [machine], vim.VirtualMachine, paths)]
    hosts = {told["runtime.host"]._GetMoId(): told["runtime.host"] for told in found}
    names = {
        host._GetMoId(): told["name"]
        for host, told in read(content, list(hosts.values()), vim.HostSystem, ["name"])
    }
    return sorted(
        (
            {
                "name": told["name"],
                "host": names.get(told["runtime.host"]._GetMoId(), ""),
                "power": str(told["runtime.powerState"]),
            }
            for told in found
        ),
        key=lambda one: one["name"],
    )


def _mhz(content: vim.ServiceInstanceContent, pool: vim.ResourcePool) -> int:
    ((_, told),) = read(content, [pool], vim.ResourcePool, ["owner"])
    ((_, owner),) = read(content, [told["owner"]], vim.ComputeResource, ["host"])
    hosts = read(content, owner.get("host", []), vim.HostSystem, ["summary.hardware.cpuMhz"])
    return max((state.get("summary.hardware.cpuMhz", 0) for _, state in hosts), default=0)
