"""Where container VMs live: a folder, a resource pool and a datastore, named as in vCenter."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field
from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.properties import read

Backing = vim.vm.device.VirtualDevice.BackingInfo


class PlaceSettings(BaseModel):
    """Inventory paths, ``/DATACENTER/vm/FOLDER`` and alike, and a datastore's name."""

    folder: str = Field(pattern=r"^/[^/]+/vm(/[^/]+)*$")
    resource_pool: str = Field(pattern=r"^/[^/]+/host/[^/]+.*$")
    datastore: str = Field(min_length=1)


@dataclass(frozen=True)
class Place:
    """What the paths name now."""

    folder: vim.Folder
    pool: vim.ResourcePool
    datastore_name: str
    cluster: vim.ComputeResource
    networks: dict[str, Backing]
    """How a NIC connects to each port group, by name."""


def find_place(content: vim.ServiceInstanceContent, settings: PlaceSettings) -> Place:
    """Look everything up. Raises FailedPrecondition, which lists all that is wrong."""
    problems = []
    folder = _find(content, settings.folder)
    if not isinstance(folder, vim.Folder):
        problems.append(f"there is no VM folder {settings.folder}")
    pool = _find(content, settings.resource_pool)
    if not isinstance(pool, vim.ResourcePool):
        problems.append(f"there is no resource pool {settings.resource_pool}")
        raise _not_there(problems)
    ((_, told),) = read(content, [pool], vim.ResourcePool, ["owner"])
    cluster = told["owner"]
    ((_, within),) = read(content, [cluster], vim.ComputeResource, ["datastore", "network"])
    datastores = _datastores(content, within["datastore"])
    if settings.datastore not in datastores:
        problems.append(
            f"datastore {settings.datastore} isn't there or can't be reached; the cluster has "
            + (", ".join(sorted(datastores)) or "none")
        )
    if problems or not isinstance(folder, vim.Folder):
        raise _not_there(problems)
    networks = _networks(content, within["network"])
    return Place(folder, pool, settings.datastore, cluster, networks)


def _not_there(problems: Sequence[str]) -> FailedPrecondition:
    return FailedPrecondition("; ".join(problems), Reason.PLATFORM_OBJECT_NOT_FOUND)


def _datastores(
    content: vim.ServiceInstanceContent, found: Sequence[vim.Datastore]
) -> dict[str, vim.Datastore]:
    """Return those that can be reached, by name."""
    paths = ["name", "summary.accessible"]
    return {
        told["name"]: datastore
        for datastore, told in read(content, found, vim.Datastore, paths)
        if told.get("summary.accessible", True)
    }


def _networks(
    content: vim.ServiceInstanceContent, found: Sequence[vim.Network]
) -> dict[str, Backing]:
    """Return how a NIC connects to each port group, by name."""
    card = vim.vm.device.VirtualEthernetCard
    distributed = [n for n in found if isinstance(n, vim.dvs.DistributedVirtualPortgroup)]
    plain = [n for n in found if not isinstance(n, vim.dvs.DistributedVirtualPortgroup)]
    backings: dict[str, Backing] = {
        told["name"]: card.NetworkBackingInfo(deviceName=told["name"], network=network)
        for network, told in read(content, plain, vim.Network, ["name"])
    }
    portgroups = read(
        content,
        distributed,
        vim.dvs.DistributedVirtualPortgroup,
        ["name", "key", "config.distributedVirtualSwitch"],
    )
    # By ID: a managed object can't be the key of a dictionary.
    switches = {
        switch._GetMoId(): switch
        for _, told in portgroups
        for switch in [told["config.distributedVirtualSwitch"]]
    }
    uuids = {
        switch._GetMoId(): told["uuid"]
        for switch, told in read(
            content, list(switches.values()), vim.DistributedVirtualSwitch, ["uuid"]
        )
    }
    for _, told in portgroups:
        backings[told["name"]] = card.DistributedVirtualPortBackingInfo(
            port=vim.dvs.PortConnection(
                portgroupKey=told["key"],
                switchUuid=uuids[told["config.distributedVirtualSwitch"]._GetMoId()],
            )
        )
    return backings


def find_folder(content: vim.ServiceInstanceContent, path: str) -> vim.Folder:
    """Return the VM folder of a path. Raises FailedPrecondition."""
    found = _find(content, path)
    if not isinstance(found, vim.Folder):
        raise FailedPrecondition(f"there is no VM folder {path}", Reason.PLATFORM_OBJECT_NOT_FOUND)
    return found


def _find(content: vim.ServiceInstanceContent, path: str) -> vim.ManagedEntity | None:
    index = content.searchIndex
    assert index is not None, "every vCenter has one"
    return index.FindByInventoryPath(path.strip("/"))
