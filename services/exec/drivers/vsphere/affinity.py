"""DRS rules of the VCH's VMs: apart from one another, and on a group of hosts.

They are wishes, not orders: more containers than hosts is the usual case, and a start that DRS may
refuse would be worse than two containers on one host.
"""

from collections.abc import Sequence

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.lookup import cluster_config
from portlayer.vsphere.session import VCenter

Operation = vim.option.ArrayUpdateSpec.Operation


class Affinity:
    """Keeps the rules of one instance in step with its VMs."""

    def __init__(self, vcenter: VCenter, instance_id: str, *, apart: bool, host_group: str) -> None:
        self._vcenter = vcenter
        self._apart = apart
        self._host_group = host_group
        self._name = f"vic-{instance_id}"

    @property
    def wanted(self) -> bool:
        """Tell whether there is any rule to keep."""
        return self._apart or bool(self._host_group)

    async def keep(
        self, cluster: vim.ComputeResource, machines: Sequence[vim.VirtualMachine]
    ) -> None:
        """Have the rules name these VMs and no others. Raises FailedPrecondition, VicError."""

        if not isinstance(cluster, vim.ClusterComputeResource):
            raise FailedPrecondition(
                "rules of affinity need a cluster with DRS, and the pool is of a single host"
            )
        known = await self._vcenter.call(
            lambda content: cluster_config(content, cluster), repeatable=True
        )
        spec = self._changes(known, machines)
        if spec is not None:
            await self._vcenter.finish(
                lambda _: cluster.ReconfigureComputeResource_Task(spec, modify=True)
            )

    def _changes(
        self, known: vim.cluster.ConfigInfoEx, machines: Sequence[vim.VirtualMachine]
    ) -> vim.cluster.ConfigSpecEx | None:
        """Return what differs from what should be; None where nothing does."""
        rules, groups = [], []
        if self._host_group:
            group = self._vm_group(known, machines)
            groups = [] if group is None else [group]
            if not any(g.name == self._host_group for g in known.group or []):
                raise FailedPrecondition(
                    f"the cluster has no host group {self._host_group}",
                    Reason.PLATFORM_OBJECT_NOT_FOUND,
                )
            rules += self._host_rule(known, machines)
        if self._apart:
            rules += self._apart_rule(known, machines)
        if not rules and not groups:
            return None
        return vim.cluster.ConfigSpecEx(rulesSpec=rules, groupSpec=groups)

    def _apart_rule(
        self, known: vim.cluster.ConfigInfoEx, machines: Sequence[vim.VirtualMachine]
    ) -> list[vim.cluster.RuleSpec]:
        name = f"{self._name}-apart"
        found = _rule(known, name)
        # vCenter takes no rule about fewer than two.
        if len(machines) < 2:
            return [] if found is None else [_removal(found)]
        if found is not None and _ids(found) == _ids_of(machines):
            return []
        info = vim.cluster.AntiAffinityRuleSpec(
            name=name, enabled=True, mandatory=False, vm=list(machines)
        )
        return [_edit(found, info)]

    def _host_rule(
        self, known: vim.cluster.ConfigInfoEx, machines: Sequence[vim.VirtualMachine]
    ) -> list[vim.cluster.RuleSpec]:
        name = f"{self._name}-hosts"
        if not machines or _rule(known, name) is not None:
            return []
        info = vim.cluster.VmHostRuleInfo(
            name=name,
            enabled=True,
            mandatory=False,
            vmGroupName=self._name,
            affineHostGroupName=self._host_group,
        )
        return [_edit(None, info)]

    def _vm_group(
        self, known: vim.cluster.ConfigInfoEx, machines: Sequence[vim.VirtualMachine]
    ) -> vim.cluster.GroupSpec | None:
        found = next((g for g in known.group or [] if g.name == self._name), None)
        if found is None and not machines:
            return None
        if found is not None and _ids(found) == _ids_of(machines):
            return None
        operation = Operation.add if found is None else Operation.edit
        info = vim.cluster.VmGroup(name=self._name, vm=list(machines))
        return vim.cluster.GroupSpec(operation=operation, info=info)


def removal(known: vim.cluster.ConfigInfoEx, instance_id: str) -> vim.cluster.ConfigSpecEx | None:
    """Return how an instance's rules and group are removed; None where it has none."""
    name = f"vic-{instance_id}"
    found = (_rule(known, f"{name}-{kind}") for kind in ("apart", "hosts"))
    rules = [_removal(rule) for rule in found if rule is not None]
    groups = [
        vim.cluster.GroupSpec(operation=Operation.remove, removeKey=name)
        for group in known.group or []
        if group.name == name
    ]
    return vim.cluster.ConfigSpecEx(rulesSpec=rules, groupSpec=groups) if rules or groups else None


def _rule(known: vim.cluster.ConfigInfoEx, name: str) -> vim.cluster.RuleInfo | None:
    return next((rule for rule in known.rule or [] if rule.name == name), None)


def _edit(found: vim.cluster.RuleInfo | None, info: vim.cluster.RuleInfo) -> vim.cluster.RuleSpec:
    if found is not None:
        info.key = found.key
        return vim.cluster.RuleSpec(operation=Operation.edit, info=info)
    return vim.cluster.RuleSpec(operation=Operation.add, info=info)


def _removal(rule: vim.cluster.RuleInfo) -> vim.cluster.RuleSpec:
    return vim.cluster.RuleSpec(operation=Operation.remove, removeKey=rule.key)


def _ids(holder: vim.cluster.RuleInfo | vim.cluster.GroupInfo) -> set[str]:
    """Return the VMs of a rule or a group."""
    return _ids_of(getattr(holder, "vm", None) or [])


def _ids_of(machines: Sequence[vim.VirtualMachine]) -> set[str]:
    return {machine._GetMoId() for machine in machines}
