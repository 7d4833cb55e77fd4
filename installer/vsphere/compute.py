"""What `--compute-resource` names on a vCenter: the pool in which a VCH's own is made."""

from dataclasses import dataclass

from pyVmomi import vim

from portlayer.vsphere.lookup import find, find_datacenter, path_of
from portlayer.vsphere.properties import read, read_below


@dataclass(frozen=True)
class Compute:
    """A pool that is there, and whose it is."""

    pool: vim.ResourcePool
    path: str
    owner: vim.ComputeResource
    """The cluster or single host."""
    datacenter: vim.Datacenter


def find_compute(content: vim.ServiceInstanceContent, named: str) -> Compute | None:
    """Return the pool of a path, or of a cluster's name or path; None where there is none."""
    path = next((p for p in compute_paths(content) if named in (p, p.rpartition("/")[2])), named)
    found = find(content, path)
    if isinstance(found, vim.ComputeResource):
        path = f"{path}/Resources"
        found = find(content, path)
    if not isinstance(found, vim.ResourcePool):
        return None
    ((_, told),) = read(content, [found], vim.ResourcePool, ["owner"])
    return Compute(found, path, told["owner"], find_datacenter(content, path))


def compute_paths(content: vim.ServiceInstanceContent) -> list[str]:
    """Return the inventory paths of all clusters and single hosts."""
    found = read_below(content, content.rootFolder, vim.ComputeResource, ["name"])
    return sorted(path_of(content, compute) for compute, _ in found)


def likely_datacenter(
    content: vim.ServiceInstanceContent, named: str
) -> tuple[vim.Datacenter, str] | None:
    """Return the datacenter, and its path, in which something that isn't there was looked for.

    That is the one that its path begins with, or the only one.
    """
    centers = {
        path_of(content, center): center
        for center, _ in read_below(content, content.rootFolder, vim.Datacenter, ["name"])
    }
    for path, center in centers.items():
        if len(centers) == 1 or f"/{named.strip('/')}/".startswith(f"{path}/"):
            return center, path
    return None
