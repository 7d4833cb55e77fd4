"""Port groups: those that are given, and those that we make on a distributed switch.

A port group is ours if its description says so. One of ours has a VLAN that no other port group of
its switch has, and a policy under which a VM sends from its own address alone and doesn't hear what
is sent to others. It may also keep its members apart, or be blocked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason, ResourceExhausted
from portlayer.vsphere.lookup import (
    Backing,
    DistributedPortgroup,
    backings,
    find,
    find_datacenter,
)
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.network.drivers.vsphere.isolation import Port, Rule, filter_policy, has_rules

Switch = vim.dvs.VmwareDistributedVirtualSwitch
VlanId = Switch.VlanIdSpec
Setting = Switch.VmwarePortConfigPolicy

# Ports come and go with VMs; this many are there from the start. Source: elastic port groups.
PORTS = 8
# In a message.
MOST_NAMED = 3
_PATHS = (
    "name",
    "key",
    "config.description",
    "config.configVersion",
    "config.defaultPortConfig",
)


def own_name(instance_id: str, ordinal: int) -> str:
    """Return the name of the port group that an instance makes for a network."""
    return f"vic-{instance_id}-net{ordinal}"


def mark(instance_id: str) -> str:
    """Return the description of the port groups that an instance has made."""
    return f"vic {instance_id}"


@dataclass(frozen=True)
class Wanted:
    """A port group of ours as it should be."""

    name: str
    label: str
    """Its description."""
    rules: tuple[Rule, ...] = ()
    """Of its traffic filter; where there are none, the filter is nobody's of ours."""
    blocked: bool = False
    """It forwards nothing at all."""


@dataclass(frozen=True)
class Found:
    """A port group of a switch."""

    portgroup: DistributedPortgroup
    name: str
    description: str
    key: str
    vlan: int
    """0: none, or several."""
    version: str
    spoofable: bool
    """VMs may send from addresses that are not theirs, or hear what is sent to others."""
    blocked: bool
    filter_policy: Port.FilterPolicy | None

    def keeps(self, wanted: Wanted) -> bool:
        """Tell whether it has the policy that one of ours should have."""
        filtered = not wanted.rules or has_rules(self.filter_policy, wanted.rules)
        return not self.spoofable and filtered and (self.blocked or not wanted.blocked)


def of_switch(
    content: vim.ServiceInstanceContent, switch: vim.DistributedVirtualSwitch
) -> list[Found]:
    """Return all port groups of a switch."""
    ((_, told),) = read(content, [switch], vim.DistributedVirtualSwitch, ["portgroup"])
    groups: Sequence[DistributedPortgroup] = told.get("portgroup", [])
    return [
        _found(group, values)
        for group, values in read(content, groups, DistributedPortgroup, _PATHS)
    ]


class Portgroups:
    """The port groups of one instance."""

    def __init__(self, vcenter: VCenter, folder: str, switch: str, vlans: range | None) -> None:
        self._vcenter = vcenter
        self._folder = folder
        self._switch = switch
        self._vlans = vlans

    async def given(self, name: str) -> Backing | None:
        """Return how a card connects to a port group of the datacenter; None where it is not."""

        def look(content: vim.ServiceInstanceContent) -> dict[str, Backing]:
            return backings(content, find_datacenter(content, self._folder))

        return (await self._vcenter.call(look, repeatable=True)).get(name)

    async def of_switch(self) -> list[Found]:
        """Return all port groups of the switch. Raises FailedPrecondition where it isn't there."""

        def look(content: vim.ServiceInstanceContent) -> list[Found]:
            return of_switch(content, self._find_switch(content))

        return await self._vcenter.call(look, repeatable=True)

    async def ensure(self, wanted: Wanted) -> list[str]:
        """Make a port group, or put right one of ours that was changed; return what was done.

        Raises ResourceExhausted where no VLAN is free, FailedPrecondition where the name is taken
        by a port group that isn't ours, or the switch has no filter for rules.
        """
        there = await self.of_switch()
        known = next((group for group in there if group.name == wanted.name), None)
        if known is None:
            await self._make(wanted, there)
            return [f"made port group {wanted.name}"]
        if known.description != wanted.label:
            raise FailedPrecondition(
                f"the switch has a port group {wanted.name} that is not ours",
                Reason.PLATFORM_OBJECT_EXISTS,
            )
        if known.keeps(wanted):
            return []
        spec = _spec(wanted, known.vlan)
        spec.configVersion = known.version
        await self._vcenter.finish(lambda _: known.portgroup.ReconfigureDVPortgroup_Task(spec))
        return [f"set the policy of port group {wanted.name} again"]

    async def remove(self, name: str, label: str) -> bool:
        """Remove a port group of ours; return whether there was one.

        Raises FailedPrecondition where VMs use it: vCenter's own check is not to be relied on.
        """
        for group in await self.of_switch():
            if group.name != name or group.description != label:
                continue
            users = await self._users(group)
            if users:
                raise FailedPrecondition(
                    f"port group {name} is in use by VM {', '.join(users[:MOST_NAMED])}"
                    + (" and others" if len(users) > MOST_NAMED else ""),
                    Reason.ACTIVE_ENDPOINTS,
                )
            await self._vcenter.finish(lambda _, found=group: found.portgroup.Destroy_Task())  # type: ignore[misc]
            return True
        return False

    async def _users(self, group: Found) -> list[str]:
        """Return the names of the VMs that have a card in a port group."""
        moid = group.portgroup._GetMoId()

        def look(content: vim.ServiceInstanceContent) -> list[str]:
            datacenter = find_datacenter(content, self._folder)
            return [
                told["name"]
                for _, told in read_below(
                    content, datacenter, vim.VirtualMachine, ["name", "network"]
                )
                if any(network._GetMoId() == moid for network in told.get("network") or [])
            ]

        return sorted(await self._vcenter.call(look, repeatable=True))

    async def _make(self, wanted: Wanted, there: Sequence[Found]) -> None:
        if wanted.rules:
            await self._see_filter()
        for vlan in self._free(there):
            spec = _spec(wanted, vlan)
            await self._vcenter.finish(
                lambda content, spec=spec: self._find_switch(content).AddDVPortgroup_Task([spec])  # type: ignore[misc]
            )
            groups = await self.of_switch()
            own = next(group for group in groups if group.name == wanted.name)
            # Another instance may have chosen the same at the same time; the older one keeps it.
            same = [group for group in groups if group.vlan == vlan and group.key != own.key]
            if not any(_older(other, own) for other in same):
                return
            await self._vcenter.finish(lambda _, own=own: own.portgroup.Destroy_Task())  # type: ignore[misc]
        assert self._vlans is not None
        raise ResourceExhausted(
            f"no VLAN of {self._vlans.start}-{self._vlans.stop - 1} is free on {self._switch}; "
            "give more of them, or remove networks that are not needed",
            Reason.POOLS_EXHAUSTED,
        )

    async def _see_filter(self) -> None:
        """Raise FailedPrecondition where the switch filters nothing."""
        path = "capability.featuresSupported.networkFilterSupported"

        def look(content: vim.ServiceInstanceContent) -> bool:
            switch = self._find_switch(content)
            ((_, told),) = read(content, [switch], vim.DistributedVirtualSwitch, [path])
            return told.get(path) is True

        if not await self._vcenter.call(look, repeatable=True):
            raise FailedPrecondition(
                f"distributed switch {self._switch} can't filter traffic, by which members of a "
                "network would be kept apart: upgrade it to version 5.5 or later, without "
                "network offloads",
                Reason.PLATFORM_OBJECT_NOT_FOUND,
            )

    def _free(self, there: Sequence[Found]) -> Iterator[int]:
        taken = {group.vlan for group in there}
        return (vlan for vlan in self._vlans or () if vlan not in taken)

    def _find_switch(self, content: vim.ServiceInstanceContent) -> vim.DistributedVirtualSwitch:
        if not self._switch or self._vlans is None:
            raise FailedPrecondition(
                "no port group is left for another network: give one by --bridge-network, or a "
                "distributed switch and VLANs by --switch and --vlans",
                Reason.POOLS_EXHAUSTED,
            )
        found = find(content, self._switch)
        if not isinstance(found, vim.DistributedVirtualSwitch):
            raise FailedPrecondition(
                f"there is no distributed switch {self._switch}", Reason.PLATFORM_OBJECT_NOT_FOUND
            )
        return found


def _older(one: Found, other: Found) -> bool:
    """Tell which of two was made first: keys are counted up."""
    return (len(one.key), one.key) < (len(other.key), other.key)


def _spec(wanted: Wanted, vlan: int) -> DistributedPortgroup.ConfigSpec:
    """Return a port group with a VLAN of its own and no way to spoof."""
    no = vim.BoolPolicy(inherited=False, value=False)
    return DistributedPortgroup.ConfigSpec(
        name=wanted.name,
        description=wanted.label,
        type="earlyBinding",
        numPorts=PORTS,
        autoExpand=True,
        defaultPortConfig=Setting(
            vlan=VlanId(inherited=False, vlanId=vlan),
            securityPolicy=Switch.SecurityPolicy(
                inherited=False, allowPromiscuous=no, macChanges=no, forgedTransmits=no
            ),
            filterPolicy=filter_policy(wanted.rules) if wanted.rules else None,
            blocked=vim.BoolPolicy(inherited=False, value=True) if wanted.blocked else None,
        ),
        policy=Switch.VMwarePortgroupPolicy(
            blockOverrideAllowed=False,
            trafficFilterOverrideAllowed=False,
            shapingOverrideAllowed=False,
            vendorConfigOverrideAllowed=False,
            livePortMovingAllowed=False,
            portConfigResetAtDisconnect=True,
            vlanOverrideAllowed=False,
            uplinkTeamingOverrideAllowed=False,
            securityPolicyOverrideAllowed=False,
        ),
    )


def _found(group: DistributedPortgroup, told: dict[str, object]) -> Found:
    setting = told.get("config.defaultPortConfig")
    vlan = getattr(setting, "vlan", None)
    return Found(
        portgroup=group,
        name=str(told["name"]),
        description=str(told.get("config.description") or ""),
        key=str(told["key"]),
        vlan=vlan.vlanId if isinstance(vlan, VlanId) else 0,
        version=str(told.get("config.configVersion") or ""),
        spoofable=_spoofable(getattr(setting, "securityPolicy", None)),
        blocked=_is_set(getattr(setting, "blocked", None)),
        filter_policy=getattr(setting, "filterPolicy", None),
    )


def _is_set(policy: vim.BoolPolicy | None) -> bool:
    return policy is not None and policy.value is True


def _spoofable(policy: Switch.SecurityPolicy | None) -> bool:
    if policy is None:
        return True
    settings = (policy.allowPromiscuous, policy.macChanges, policy.forgedTransmits)
    return any(setting is None or setting.value is not False for setting in settings)
