"""Which host a VM is made on, where DRS doesn't choose."""

from dataclasses import dataclass

from pyVmomi import vim

from portlayer.errors import Reason, ResourceExhausted
from portlayer.vsphere.lookup import cluster_config
from portlayer.vsphere.properties import read
from services.exec.drivers.shapes import MIB

_PATHS = (
    "name",
    "runtime.connectionState",
    "runtime.inMaintenanceMode",
    "summary.hardware.memorySize",
    "summary.quickStats.overallMemoryUsage",
)


@dataclass(frozen=True)
class Host:
    """A host that can take VMs. Memory in MiB."""

    host: vim.HostSystem
    name: str
    free_mib: int

    @property
    def moid(self) -> str:
        """vCenter's ID of it."""
        return str(self.host._GetMoId())


def usable_hosts(content: vim.ServiceInstanceContent, cluster: vim.ComputeResource) -> list[Host]:
    """Return the hosts that are connected and not in maintenance, most free memory first."""
    ((_, told),) = read(content, [cluster], vim.ComputeResource, ["host"])
    found = []
    for host, state in read(content, told.get("host", []), vim.HostSystem, _PATHS):
        connected = state["runtime.connectionState"] == "connected"
        if not connected or state.get("runtime.inMaintenanceMode"):
            continue
        total = state.get("summary.hardware.memorySize", 0) // MIB
        used = state.get("summary.quickStats.overallMemoryUsage") or 0
        found.append(Host(host, state["name"], total - used))
    return sorted(found, key=lambda host: -host.free_mib)


def host_for(
    content: vim.ServiceInstanceContent, cluster: vim.ComputeResource
) -> vim.HostSystem | None:
    """Return the host to make a VM on; None leaves it to DRS. Raises ResourceExhausted."""
    if isinstance(cluster, vim.ClusterComputeResource) and _drs_chooses(content, cluster):
        return None
    hosts = usable_hosts(content, cluster)
    if not hosts:
        raise ResourceExhausted(
            "no host of the cluster can take VMs: all are disconnected or in maintenance",
            Reason.LIMIT_EXCEEDED,
        )
    return hosts[0].host


def _drs_chooses(content: vim.ServiceInstanceContent, cluster: vim.ClusterComputeResource) -> bool:
    drs = cluster_config(content, cluster).drsConfig
    manual = vim.cluster.DrsConfigInfo.DrsBehavior.manual
    return bool(drs and drs.enabled and drs.defaultVmBehavior != manual)
