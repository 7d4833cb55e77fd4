"""Port groups: those that are given, and those that we make on a distributed switch.

A port group is ours if its description says so. One of ours has a VLAN that no other port group of
its switch has, and a policy under which a VM sends from its own address alone and doesn't hear what
is sent to others. It may also keep its members apart, or be blocked.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason, ResourceExhausted
from portlayer.vsphere.lookup import (
    Backing,
    DistributedPortgroup,
    backings,
    find,
    find_datacenter,
)
from portlayer.vsphere.properties import read, read_below, read_present
from portlayer.vsphere.session import VCenter
from services.network.drivers.vsphere.isolation import (
    Port,
    Rule,
    filter_policy,
    has_rules,
    no_filter_policy,
)

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
    """Of its traffic filter; where there are none, it filters nothing."""
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
        return (
            not self.spoofable
            and self.blocked == wanted.blocked
            and has_rules(self.filter_policy, wanted.rules)
        )

    def has_own_vlan(self, there: Sequence["Found"]) -> bool:
        """Tell whether it has a VLAN, and no older port group of the switch has the same.

        Instances may choose one at the same time; the older port group keeps it.
        """
        return self.vlan != 0 and not any(
            other.vlan == self.vlan and _older(other, self) for other in there
        )


def of_switch(
    content: vim.ServiceInstanceContent, switch: vim.DistributedVirtualSwitch
) -> list[Found]:
    """Return all port groups of a switch, also while others remove some of theirs."""
    ((_, told),) = read(content, [switch], vim.DistributedVirtualSwitch, ["portgroup"])
    groups: Sequence[DistributedPortgroup] = told.get("portgroup", [])
    return [
        _found(group, values)
        for group, values in read_present(content, groups, DistributedPortgroup, _PATHS)
    ]


class Portgroups:
    """The port groups of one instance."""

    def __init__(self, vcenter: VCenter, folder: str, switch: str, vlans: range | None) -> None:
        self._vcenter = vcenter
        self._folder = folder
        self._switch = switch
        self._vlans = vlans

    async def backings(self) -> dict[str, Backing]:
        """Return how a card connects to each port group of the datacenter, by name."""

        def look(content: vim.ServiceInstanceContent) -> dict[str, Backing]:
            return backings(content, find_datacenter(content, self._folder))

        return await self._vcenter.call(look, repeatable=True)

    async def of_switch(self) -> list[Found]:
        """Return all port groups of the switch. Raises FailedPrecondition where it isn't there."""

        def look(content: vim.ServiceInstanceContent) -> list[Found]:
            return of_switch(content, self._find_switch(content))

        return await self._vcenter.call(look, repeatable=True)

    async def ensure(self, wanted: Sequence[Wanted]) -> list[str]:
        """Make port groups, or put right those of ours that are otherwise; return what was done.

        By one look where nothing is to be done. Raises ResourceExhausted where no VLAN is free,
        FailedPrecondition where a name is taken by a port group that isn't ours, or the switch has
        no filter for rules.
        """
        there = await self.of_switch() if wanted else []
        done: list[str] = []
        for one in wanted:
            changed = await self._ensure(one, there)
            if changed:
                there = await self.of_switch()
            done += changed
        return done

    async def _ensure(self, wanted: Wanted, there: Sequence[Found]) -> list[str]:
        known = next((group for group in there if group.name == wanted.name), None)
        if known is None:
            await self._make(wanted, there)
            return [f"made port group {wanted.name}"]
        if known.description != wanted.label:
            raise FailedPrecondition(
                f"the switch has a port group {wanted.name} that is not ours",
                Reason.PLATFORM_OBJECT_EXISTS,
            )
        return await self._put_right(wanted, known, there)

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
            await self._destroy(group)
            return True
        return False

    async def remove_strays(self, instance_id: str, wanted: Collection[str]) -> list[str]:
        """Remove what an instance has made for networks that are no more; return what was done.

        It has our mark and a name of ours, and no VM uses it: that one may be in use by somebody.
        """
        label = mark(instance_id)
        done = []
        for group in await self.of_switch():
            own = group.description == label and _is_own_name(group.name, instance_id)
            if own and group.name not in wanted and not await self._users(group):
                await self._destroy(group)
                done.append(f"removed port group {group.name}, which is no network's")
        return done

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

    async def _destroy(self, group: Found) -> None:
        await self._vcenter.finish(lambda _: group.portgroup.Destroy_Task())

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
            if own.has_own_vlan(groups):
                return
            await self._destroy(own)
        raise self._no_vlan()

    async def _put_right(self, wanted: Wanted, known: Found, there: Sequence[Found]) -> list[str]:
        """Give one of ours the policy that it should have, and a VLAN of its own."""
        kept = [known.vlan] if known.has_own_vlan(there) else []
        if kept and known.keeps(wanted):
            return []
        if wanted.rules and not has_rules(known.filter_policy, wanted.rules):
            await self._see_filter()
        reconfigure = known.portgroup.ReconfigureDVPortgroup_Task
        clears, version = not has_rules(known.filter_policy, ()), known.version
        for vlan in chain(kept, self._free(there)):
            spec = _spec(wanted, vlan, clears=clears)
            spec.configVersion = version
            await self._vcenter.finish(lambda _, spec=spec: reconfigure(spec))  # type: ignore[misc]
            groups = await self.of_switch()
            now = next(group for group in groups if group.key == known.key)
            if now.has_own_vlan(groups):
                if vlan == known.vlan:
                    return [f"set the policy of port group {wanted.name} again"]
                return [f"gave port group {wanted.name} VLAN {vlan}, which no other has"]
            version = now.version
        raise self._no_vlan()

    def _no_vlan(self) -> ResourceExhausted:
        assert self._vlans is not None
        return ResourceExhausted(
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


def _is_own_name(name: str, instance_id: str) -> bool:
    """Tell whether a name is one that an instance makes for a network."""
    ordinal = name.removeprefix(own_name(instance_id, 0)[:-1])
    return ordinal.isdecimal() and name == own_name(instance_id, int(ordinal))


def _spec(wanted: Wanted, vlan: int, *, clears: bool = False) -> DistributedPortgroup.ConfigSpec:
    """Return a port group with a VLAN of its own and no way to spoof.

    `clears` takes rules away where none are wanted. Without any there nothing is said of them, as
    not every switch has a filter.
    """
    rules = filter_policy(wanted.rules) if wanted.rules else None
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
            filterPolicy=no_filter_policy() if clears and rules is None else rules,
            blocked=vim.BoolPolicy(inherited=False, value=wanted.blocked),
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
