"""The privileges that a VCH's user needs, and no more.

They are granted by one role on the objects named here, propagated to their children; `vic role`
prints or makes it. Source: "Required Privileges for Common Tasks" in VMware's vSphere Security,
6.7.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyVmomi import vim

ROLE = "vic-operator"

DATACENTER = (
    "Datastore.AllocateSpace",
    "Datastore.Browse",
    "Datastore.DeleteFile",
    "Datastore.FileManagement",
    "Folder.Create",
    "Folder.Delete",
    "Network.Assign",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Resource",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.Reset",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.CreateFromExisting",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Provisioning.Clone",
)
"""On the datacenter: container VMs, their files and their folder."""
COMPUTE = (
    "Resource.AssignVMToPool",
    "Resource.CreatePool",
    "Resource.DeletePool",
    "Resource.EditPool",
)
"""On the cluster or pool: the VCH's own pool."""
RULES = ("Host.Inventory.EditCluster",)
"""On the cluster, where DRS rules are asked for."""
SWITCH = (
    "DVPortgroup.Create",
    "DVPortgroup.Delete",
    "DVPortgroup.Modify",
    "DVPortgroup.PolicyOp",
)
"""On the distributed switch, where port groups are made, and their policies put right."""
VCENTER = ("Global.DisableMethods", "Global.EnableMethods")
"""On the vCenter itself: so that nobody deletes a container's VM with its disks."""

EVERYWHERE: Mapping[str, Sequence[str]] = {
    "the vCenter": VCENTER,
    "the datacenter": DATACENTER,
    "the cluster or pool": (*COMPUTE, *RULES),
    "the distributed switch": SWITCH,
}
"""What the role consists of, and where it is needed."""


@dataclass(frozen=True)
class Needed:
    """Privileges on one object."""

    entity: vim.ManagedEntity
    name: str
    privileges: Sequence[str]


def missing(content: vim.ServiceInstanceContent, needed: Iterable[Needed]) -> dict[str, list[str]]:
    """Return the privileges that the session's user lacks, by the objects' names."""
    manager, sessions = content.authorizationManager, content.sessionManager
    assert manager is not None, "every vCenter has one"
    assert sessions is not None, "every vCenter has one"
    session = sessions.currentSession
    assert session is not None, "we are logged in"
    lacking = {}
    for one in needed:
        found = manager.HasUserPrivilegeOnEntities(
            [one.entity], session.userName, list(one.privileges)
        )
        absent = [
            granted.privId
            for entity in found or []
            for granted in entity.privAvailability or []
            if not granted.isGranted
        ]
        if absent:
            lacking[one.name] = sorted(absent)
    return lacking


def ensure_role(content: vim.ServiceInstanceContent, name: str) -> str:
    """Make the role, or give it what it lacks; return what was done."""
    manager = content.authorizationManager
    assert manager is not None, "every vCenter has one"
    wanted = sorted({p for privileges in EVERYWHERE.values() for p in privileges})
    for role in manager.roleList:
        if role.name != name:
            continue
        if set(wanted) <= set(role.privilege):
            return f"role {name} is as it should be"
        manager.UpdateAuthorizationRole(role.roleId, name, sorted({*role.privilege, *wanted}))
        return f"gave role {name} what it lacked"
    manager.AddAuthorizationRole(name, wanted)
    return f"made role {name}"
