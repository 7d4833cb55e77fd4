"""What a VCH's wishes mean on a vCenter: all that is wrong is found before anything is changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pyVmomi import vim

from installer.vsphere.compute import compute_paths, find_compute, likely_datacenter
from installer.vsphere.role import COMPUTE, DATACENTER, RULES, SWITCH, VCENTER, Needed, missing
from installer.vsphere.wishes import Store, VchWishes, memory_problem
from portlayer.errors import FailedPrecondition
from portlayer.vsphere.lookup import backings, cluster_config, find, find_child, path_of
from portlayer.vsphere.properties import read, read_below
from services.exec.drivers.shapes import MIB
from services.network.drivers.vsphere.portgroups import of_switch
from services.network.drivers.vsphere.settings import parse_vlans

NO_SPEED = (
    "--cpus: no host of the cluster tells the speed of its processors, by which limits count; "
    "connect one"
)
# A datastore with less can't hold the boot medium and one small image.
LEAST_FREE_BYTES = 1 << 30
# Of a datastore that is in use. Source: DatastoreSummaryMaintenanceModeState
NORMAL = "normal"


@dataclass
class Plan:
    """Where a VCH will be. ``problems`` is empty where it can be."""

    problems: list[str] = field(default_factory=list)
    datacenter: vim.Datacenter | None = None
    datacenter_path: str = ""
    parent: vim.ResourcePool | None = None
    """The pool in which the VCH's own is made."""
    parent_path: str = ""
    cpu_mhz: int = 0
    """Of one CPU of the cluster's hosts."""


def make_plan(
    content: vim.ServiceInstanceContent, wishes: VchWishes, *, known: bool = False
) -> Plan:
    """Look at everything, and return what is found and what is wrong with it.

    ``known``: a record of ours has the VCH, so that its pool and folder may be there.
    """
    plan = Plan()
    cluster = _look_at_compute(content, wishes, plan)
    if plan.datacenter is not None:
        _look_at_stores(content, wishes, plan)
        _look_at_networks(content, wishes, plan, known=known)
        _look_at_names(content, wishes, plan, known=known)
    if cluster is not None:
        _look_at_cluster(content, wishes, plan, cluster)
    _look_at_limits(wishes, plan)
    _look_at_privileges(content, wishes, plan, cluster)
    return plan


def _look_at_compute(
    content: vim.ServiceInstanceContent, wishes: VchWishes, plan: Plan
) -> vim.ComputeResource | None:
    """Find the pool that a path or a cluster's name means."""
    named = wishes.compute_resource
    found = find_compute(content, named)
    if found is None:
        there = [f"{p} (or a pool below {p}/Resources)" for p in compute_paths(content)]
        plan.problems.append(
            f"--compute-resource: there is no cluster or pool {named}; there {_are(there)}"
        )
        # What else is wrong is said all the same.
        plan.datacenter, plan.datacenter_path = likely_datacenter(content, named) or (None, "")
        return None
    plan.parent, plan.parent_path = found.pool, found.path
    plan.datacenter = found.datacenter
    plan.datacenter_path = found.path.partition("/host/")[0]
    return found.owner


def _look_at_stores(content: vim.ServiceInstanceContent, wishes: VchWishes, plan: Plan) -> None:
    assert plan.datacenter is not None
    ((_, told),) = read(content, [plan.datacenter], vim.Datacenter, ["datastore"])
    paths = ["name", "summary.accessible", "summary.freeSpace", "summary.maintenanceMode"]
    there = {
        state["name"]: state
        for _, state in read(content, told.get("datastore", []), vim.Datastore, paths)
    }
    known = [f"{name}{_store_note(state)}" for name, state in there.items()]
    wanted = [("--image-store", wishes.image_store)]
    wanted += [(f"--volume-store {name}", store) for name, store in wishes.volume_stores.items()]
    for option, store in wanted:
        problem = _store_problem(store, there.get(store.datastore))
        if problem:
            plan.problems.append(f"{option}: {problem}; there {_are(known)}")


def _store_problem(store: Store, state: dict[str, object] | None) -> str:
    if state is None:
        return f"there is no datastore {store.datastore}"
    if not state.get("summary.accessible", True):
        return f"datastore {store.datastore} can't be reached by its hosts"
    if _in_maintenance(state):
        return f"datastore {store.datastore} is in maintenance mode: end that, or name another"
    free = state.get("summary.freeSpace", LEAST_FREE_BYTES)
    if isinstance(free, int) and free < LEAST_FREE_BYTES:
        return (
            f"datastore {store.datastore} is full: it has {free // MIB} MiB free, and "
            f"{LEAST_FREE_BYTES // MIB} are needed at least"
        )
    return ""


def _store_note(state: dict[str, object]) -> str:
    """Return why a datastore that is there is of no use, for a list of names."""
    if not state.get("summary.accessible", True):
        return " (inaccessible)"
    if _in_maintenance(state):
        return " (in maintenance mode)"
    free = state.get("summary.freeSpace", LEAST_FREE_BYTES)
    return " (full)" if isinstance(free, int) and free < LEAST_FREE_BYTES else ""


def _in_maintenance(state: dict[str, object]) -> bool:
    """Tell whether a datastore is in maintenance mode, or about to be: nothing may be put there."""
    return state.get("summary.maintenanceMode", NORMAL) != NORMAL


def _look_at_networks(
    content: vim.ServiceInstanceContent, wishes: VchWishes, plan: Plan, *, known: bool
) -> None:
    assert plan.datacenter is not None
    there = backings(content, plan.datacenter)
    wanted = [("--management-network", wishes.management_network)]
    wanted += [("--bridge-network", name) for name in wishes.bridge_networks]
    wanted += [("--public-network", wishes.public_network)]
    wanted += [("--client-network", wishes.client_network)]
    wanted += [("--container-network", wish.parent) for wish in wishes.container_networks]
    for option, name in wanted:
        if name and name not in there:
            plan.problems.append(f"{option}: there is no port group {name}; there {_are(there)}")
    for name in wishes.bridge_networks:
        if name in (wishes.management_network, wishes.public_network, wishes.client_network):
            plan.problems.append(
                f"--bridge-network: port group {name} is another network of the VCH; containers "
                "need one of their own"
            )
    _look_at_container_networks(wishes, plan)
    if not wishes.switch:
        if not wishes.bridge_networks:
            plan.problems.append(
                "--bridge-network: give a port group that nobody else uses, or have them made by "
                "--switch and --vlans"
            )
        return
    if not wishes.vlans:
        plan.problems.append("--switch: give the VLANs for its port groups by --vlans")
    _look_at_switch(content, wishes, plan, known=known)


def _look_at_container_networks(wishes: VchWishes, plan: Plan) -> None:
    for wish in wishes.container_networks:
        if wish.parent in wishes.bridge_networks:
            plan.problems.append(
                f"--container-network: port group {wish.parent} is a bridge network of the VCH"
            )
        if wish.firewall in ("closed", "peers"):
            if not wishes.switch:
                plan.problems.append(
                    f"--container-network-firewall: the level {wish.firewall} needs a port group "
                    "of the VCH's own: have it made by --switch and --vlans"
                )
        elif wish.firewall != "open":
            plan.problems.append(
                "--container-network-firewall: a port group doesn't remember who began to speak, "
                f"so that the level {wish.firewall} can't be kept; say {wish.parent}:open if it "
                "may be open, or peers, or closed"
            )


def _look_at_switch(
    content: vim.ServiceInstanceContent, wishes: VchWishes, plan: Plan, *, known: bool
) -> None:
    assert plan.datacenter is not None
    switch = find(content, wishes.switch)
    if not isinstance(switch, vim.DistributedVirtualSwitch):
        found = read_below(content, plan.datacenter, vim.DistributedVirtualSwitch, ["name"])
        paths = [path_of(content, switch) for switch, _ in found]
        plan.problems.append(
            f"--switch: there is no distributed switch {wishes.switch}; there {_are(paths)}"
        )
    elif wishes.vlans and not wishes.bridge_networks and not known:
        taken = {group.vlan for group in of_switch(content, switch)}
        if taken.issuperset(parse_vlans(wishes.vlans)):
            plan.problems.append(
                f"--vlans: no VLAN of {wishes.vlans} is free on {wishes.switch}; give others"
            )


def _look_at_names(
    content: vim.ServiceInstanceContent, wishes: VchWishes, plan: Plan, *, known: bool
) -> None:
    """See that pool and folder can be made; those of an interrupted create are there already."""
    if known:
        return
    pool = None if plan.parent is None else find_child(content, plan.parent, wishes.name)
    if isinstance(pool, vim.ResourcePool):
        plan.problems.append(
            f"--name: {plan.parent_path} has a pool {wishes.name}; choose another name"
        )
    if find(content, f"{plan.datacenter_path}/vm/{wishes.name}") is not None:
        plan.problems.append(
            f"--name: {plan.datacenter_path}/vm has a folder or VM {wishes.name}; choose another "
            "name"
        )


def _look_at_cluster(
    content: vim.ServiceInstanceContent,
    wishes: VchWishes,
    plan: Plan,
    cluster: vim.ComputeResource,
) -> None:
    ((_, told),) = read(content, [cluster], vim.ComputeResource, ["host"])
    hosts = read(content, told.get("host", []), vim.HostSystem, ["summary.hardware.cpuMhz"])
    plan.cpu_mhz = max((state.get("summary.hardware.cpuMhz", 0) for _, state in hosts), default=0)
    if not hosts:
        plan.problems.append("--compute-resource: the cluster has no hosts; add one")
    elif wishes.limits.cpus and not plan.cpu_mhz:
        plan.problems.append(NO_SPEED)
    rules = wishes.anti_affinity or wishes.host_group
    if not rules:
        return
    if not isinstance(cluster, vim.ClusterComputeResource):
        plan.problems.append(
            "--anti-affinity and --host-group are rules of DRS: they need a cluster, not a "
            "single host"
        )
        return
    groups = [
        group.name
        for group in cluster_config(content, cluster).group or []
        if isinstance(group, vim.cluster.HostGroup)
    ]
    if wishes.host_group and wishes.host_group not in groups:
        plan.problems.append(
            f"--host-group: the cluster has no host group {wishes.host_group}; there "
            + _are(groups)
        )


def _look_at_limits(wishes: VchWishes, plan: Plan) -> None:
    problem = memory_problem(wishes.limits)
    if problem:
        plan.problems.append(problem)
    if wishes.vlans and not wishes.switch:
        plan.problems.append("--vlans: name the distributed switch by --switch")


def _look_at_privileges(
    content: vim.ServiceInstanceContent,
    wishes: VchWishes,
    plan: Plan,
    cluster: vim.ComputeResource | None,
) -> None:
    needed = [Needed(content.rootFolder, "the vCenter", VCENTER)]
    if plan.datacenter is not None:
        needed.append(Needed(plan.datacenter, f"datacenter {plan.datacenter_path}", DATACENTER))
    if plan.parent is not None:
        needed.append(Needed(plan.parent, plan.parent_path, COMPUTE))
    if cluster is not None and (wishes.anti_affinity or wishes.host_group):
        needed.append(Needed(cluster, f"the cluster of {plan.parent_path}", RULES))
    switch = find(content, wishes.switch) if wishes.switch else None
    if switch is not None:
        needed.append(Needed(switch, wishes.switch, SWITCH))
    for name, absent in missing(content, needed).items():
        plan.problems.append(
            f"--user: {wishes.target.user} lacks privileges on {name}: {', '.join(absent)}; "
            "`vic role` makes a role that has them"
        )


def _are(names: Iterable[str]) -> str:
    """Return "are A, B", or "is none"."""
    found: Sequence[str] = sorted(names)
    if not found:
        return "is none"
    return f"{'is' if len(found) == 1 else 'are'} {', '.join(found)}"


def refuse(problems: Sequence[str]) -> FailedPrecondition:
    """Return the error that lists all that is wrong."""
    return FailedPrecondition("\n".join(problems))
