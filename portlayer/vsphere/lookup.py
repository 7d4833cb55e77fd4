"""What names and inventory paths mean on a vCenter."""

from collections.abc import Sequence

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.properties import read, read_kinds

Backing = vim.vm.device.VirtualDevice.BackingInfo
DistributedPortgroup = vim.dvs.DistributedVirtualPortgroup

# By which vCenter marks the port group of a switch's uplinks, in which no VM can be.
UPLINKS = "SYSTEM/DVS.UPLINKPG"


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


def path_of(content: vim.ServiceInstanceContent, entity: vim.ManagedEntity) -> str:
    """Return the inventory path of an entity, which `find` finds it by."""
    path = ""
    above: vim.ManagedEntity | None = entity
    while above is not None:
        ((_, told),) = read(content, [above], vim.ManagedEntity, ["name", "parent"])
        above = told.get("parent")
        # The root folder is no part of a path.
        path = path if above is None else f"/{told['name']}{path}"
    return path


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


def backings(content: vim.ServiceInstanceContent, datacenter: vim.Datacenter) -> dict[str, Backing]:
    """Return how a NIC connects to each port group of a datacenter, by name; uplinks' left out."""
    card = vim.vm.device.VirtualEthernetCard
    found = read_kinds(
        content,
        datacenter,
        {
            vim.Network: ["name"],
            DistributedPortgroup: ["name", "key", "config.distributedVirtualSwitch", "tag"],
            vim.DistributedVirtualSwitch: ["uuid"],
        },
    )
    # By ID: a managed object can't be the key of a dictionary.
    uuids = {o._GetMoId(): told["uuid"] for o, told in found if "uuid" in told}
    named: dict[str, Backing] = {}
    for network, told in found:
        if any(tag.key == UPLINKS for tag in told.get("tag", [])):
            continue
        if isinstance(network, DistributedPortgroup):
            switch = told["config.distributedVirtualSwitch"]._GetMoId()
            port = vim.dvs.PortConnection(portgroupKey=told["key"], switchUuid=uuids[switch])
            named[told["name"]] = card.DistributedVirtualPortBackingInfo(port=port)
        elif isinstance(network, vim.Network):
            name = told["name"]
            named[name] = card.NetworkBackingInfo(deviceName=name, network=network)
    return named


def cluster_config(
    content: vim.ServiceInstanceContent, cluster: vim.ClusterComputeResource
) -> vim.cluster.ConfigInfoEx:
    """Return a cluster's DRS settings, rules and groups.

    It is the one property that is read whole: it is declared as what clusters and single hosts have
    in common, and rules and groups are no paths of that.
    """
    path = "configurationEx"
    ((_, told),) = read(content, [cluster], vim.ComputeResource, [path])
    config: vim.cluster.ConfigInfoEx = told[path]
    return config


def _index(content: vim.ServiceInstanceContent) -> vim.SearchIndex:
    index = content.searchIndex
    assert index is not None, "every vCenter has one"
    return index
