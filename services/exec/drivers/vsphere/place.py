"""Where container VMs live: a folder, a resource pool and a datastore, named as in vCenter."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.datastore import file_exists
from portlayer.vsphere.lookup import Backing, backings, datastores, find, find_datacenter
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.settings import PlaceSettings


@dataclass(frozen=True)
class Place:
    """What the paths name now."""

    folder: vim.Folder
    pool: vim.ResourcePool
    datastore_name: str
    bootstrap: str
    cluster: vim.ComputeResource
    networks: dict[str, Backing]
    """How a NIC connects to each port group, by name."""


def find_place(content: vim.ServiceInstanceContent, settings: PlaceSettings) -> Place:
    """Look everything up. Raises FailedPrecondition, which lists all that is wrong."""
    problems = []
    folder = find(content, settings.folder)
    if not isinstance(folder, vim.Folder):
        problems.append(f"there is no VM folder {settings.folder}")
    pool = find(content, settings.resource_pool)
    if not isinstance(pool, vim.ResourcePool):
        problems.append(f"there is no resource pool {settings.resource_pool}")
        raise _not_there(problems)
    ((_, told),) = read(content, [pool], vim.ResourcePool, ["owner"])
    cluster = told["owner"]
    ((_, within),) = read(content, [cluster], vim.ComputeResource, ["datastore"])
    reachable = datastores(content, within["datastore"])
    if settings.datastore not in reachable:
        problems.append(
            f"datastore {settings.datastore} isn't there or can't be reached; the cluster has "
            + (", ".join(sorted(reachable)) or "none")
        )
    if problems or not isinstance(folder, vim.Folder):
        raise _not_there(problems)
    networks = backings(content, find_datacenter(content, settings.folder))
    return Place(folder, pool, settings.datastore, settings.bootstrap, cluster, networks)


def _not_there(problems: Sequence[str]) -> FailedPrecondition:
    return FailedPrecondition("; ".join(problems), Reason.PLATFORM_OBJECT_NOT_FOUND)


async def check_bootstrap(vcenter: VCenter, settings: PlaceSettings) -> None:
    """See that the boot medium is on its datastore: vCenter looks when a VM is powered on.

    Raises FailedPrecondition.
    """
    if not await file_exists(vcenter, settings.folder, settings.bootstrap):
        raise FailedPrecondition(
            f"there is no boot medium {settings.bootstrap}; `vic create` puts it there",
            Reason.PLATFORM_OBJECT_NOT_FOUND,
        )
