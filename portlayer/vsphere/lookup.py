"""What names and inventory paths mean on a vCenter."""

from collections.abc import Sequence

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.properties import read

Backing = vim.vm.device.VirtualDevice.BackingInfo
DistributedPortgroup = vim.dvs.DistributedVirtualPortgroup


def find(content: vim.ServiceInstanceContent, path: str) -> vim.ManagedEntity | None:
    """Return what is at an inventory path, ``/DATACENTER/vm/FOLDER`` and alike."""
    return _index(content).FindByInventoryPath(path.strip("/"))


def find_folder(content: vim.ServiceInstanceContent, path: str) -> vim.Folder:
    """Return the VM folder of a path. Raises FailedPrecondition."""
    found = find(content, path)
    if not isinstance(found, vim.Folder):
        raise FailedPrecondition(f"there is no VM folder {path}", Reason.PLATFORM_OBJECT_NOT_FOUND)
    return found


def find_datacenter(content: vim.ServiceInstanceContent, path: str) -> vim.Datacenter:
    """Return the datacenter that an inventory path begins with. Raises FailedPrecondition."""
    # A datacenter may lie in folders: everything before `vm`, `host`, `network` or `datastore`.
    parts = path.strip("/").split("/")
    ends = [parts.index(word) for word in ("vm", "host", "network", "datastore") if word in parts]
    name = "/".join(parts[: min(ends, default=len(parts))])
    found = find(content, name)
    if not isinstance(found, vim.Datacenter):
        raise FailedPrecondition(
            f"there is no datacenter /{name}", Reason.PLATFORM_OBJECT_NOT_FOUND
        )
    return found


def find_child(
    content: vim.ServiceInstanceContent, parent: vim.ManagedEntity, name: str
) -> vim.ManagedEntity | None:
    """Return what has a name in a folder or pool."""
    return _index(content).FindChild(parent, name)


def find_machine(content: vim.ServiceInstanceContent, bios_uuid: str) -> vim.VirtualMachine | None:
    """Return the VM of a BIOS UUID, wherever it is."""
    found = _index(content).FindByUuid(None, bios_uuid, True, False)
    return found if isinstance(found, vim.VirtualMachine) else None


def datastores(
    content: vim.ServiceInstanceContent, found: Sequence[vim.Datastore]
) -> dict[str, vim.Datastore]:
    """Return those that can be reached, by name."""
    paths = ["name", "summary.accessible"]
    return {
        told["name"]: datastore
        for datastore, told in read(content, found, vim.Datastore, paths)
        if told.get("summary.accessible", True)
    }


def backings(
    content: vim.ServiceInstanceContent, found: Sequence[vim.Network]
) -> dict[str, Backing]:
    """Return how a NIC connects to each port group, by name."""
    card = vim.vm.device.VirtualEthernetCard
    distributed = [n for n in found if isinstance(n, DistributedPortgroup)]
    plain = [n for n in found if not isinstance(n, DistributedPortgroup)]
    named: dict[str, Backing] = {
        told["name"]: card.NetworkBackingInfo(deviceName=told["name"], network=network)
        for network, told in read(content, plain, vim.Network, ["name"])
    }
    portgroups = read(
        content,
        distributed,
        DistributedPortgroup,
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
        named[told["name"]] = card.DistributedVirtualPortBackingInfo(
            port=vim.dvs.PortConnection(
                portgroupKey=told["key"],
                switchUuid=uuids[told["config.distributedVirtualSwitch"]._GetMoId()],
            )
        )
    return named


def _index(content: vim.ServiceInstanceContent) -> vim.SearchIndex:
    index = content.searchIndex
    assert index is not None, "every vCenter has one"
    return index
