"""The vsphere driver of network: port groups, their policy, and the cards of VMs."""

import secrets
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from pyVmomi import vim

from portlayer.errors import FailedPrecondition, NotImplementedYet, Reason, ResourceExhausted
from portlayer.vsphere.lookup import DistributedPortgroup
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers import MachineSpec
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.network.drivers import Forward, Level, Port, Segment, Transport, Uplink
from services.network.drivers.vsphere.driver import VsphereDriver
from services.network.drivers.vsphere.isolation import has_rules, isolation
from services.network.drivers.vsphere.settings import VsphereSettings
from services.network.ipam import mac_of
from tests.integration.vsphere.hypervisor import PLACE, machine, new_driver, start, vm_of
from tests.integration.vsphere.service import settings
from tests.vcenter import Simulator, simulator

MAC = "02:42:ac:11:00:07"
OURS = {"switch": "/DC0/network/DVS0", "vlans": "100-102"}


def segment(ordinal: int, **fields: Any) -> Segment:
    """A bridge network."""
    subnet = IPv4Network(f"172.{17 + ordinal}.0.0/16")
    return Segment(ordinal, subnet, subnet[1], 1500, **fields)


def network_driver(
    simulated: Simulator, vcenter: VCenter, instance_id: str, **more: Any
) -> VsphereDriver:
    """The driver, given one port group for bridge networks."""
    fields = {"management_network": "DC0_DVPG0", "bridge_networks": ["DC0_DVPG1"], **OURS, **more}
    section = VsphereSettings.model_validate(settings(simulated, **fields))
    return VsphereDriver(VCenter(simulated.target()), section, instance_id)


@pytest.fixture
def instance_id() -> str:
    return secrets.token_hex(4)


@pytest.fixture
async def driver(
    simulated: Simulator, vcenter: VCenter, instance_id: str
) -> AsyncIterator[VsphereDriver]:
    made = network_driver(simulated, vcenter, instance_id)
    yield made
    await made.teardown()
    await made.close()


@pytest.fixture
async def hypervisor(simulated: Simulator, instance_id: str) -> AsyncIterator[VsphereHypervisor]:
    """exec's driver of the same instance, whose VMs have the cards."""
    made = new_driver(simulated, PLACE, instance_id)
    await made.open()
    yield made
    for running in await made.inventory():
        await made.destroy(running.container_id)
    await made.close()


async def portgroups(vcenter: VCenter) -> dict[str, dict[str, Any]]:
    """Return the properties of all distributed port groups by name."""
    paths = ["name", "config.description", "config.defaultPortConfig"]
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, DistributedPortgroup, paths)
    )
    return {told["name"]: told for _, told in found}


async def reconfigured(vcenter: VCenter, name: str, **setting: Any) -> None:
    """Have somebody change the setting of a port group."""
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, DistributedPortgroup, ["name"])
    )
    group = next(group for group, told in found if told["name"] == name)
    told = (await portgroups(vcenter))[name]
    changed = told["config.defaultPortConfig"]
    for field, value in setting.items():
        setattr(changed, field, value)
    spec = DistributedPortgroup.ConfigSpec(
        name=name, description=told["config.description"], defaultPortConfig=changed
    )
    await vcenter.finish(lambda _: group.ReconfigureDVPortgroup_Task(spec))


def _without_a_rule(policy: Any) -> Any:
    """The same without the rule that keeps members apart."""
    ruleset = policy.filterConfig[0].trafficRuleset
    ruleset.rules = [rule for rule in ruleset.rules if rule.sequence != 30]
    return policy


def _turned_off(policy: Any) -> Any:
    """The same rules, of which none holds."""
    policy.filterConfig[0].trafficRuleset.enabled = False
    return policy


async def cards(vcenter: VCenter, made: MachineSpec) -> dict[str, Any]:
    """Return a VM's cards by their addresses."""
    vm = await vm_of(vcenter, made)
    ((_, told),) = await vcenter.call(
        lambda content: read(content, [vm], vim.VirtualMachine, ["config.hardware.device"])
    )
    return {
        device.macAddress or "": device
        for device in told["config.hardware.device"]
        if isinstance(device, vim.vm.device.VirtualEthernetCard)
    }


async def test_each_bridge_network_has_a_port_group_and_a_vlan_of_its_own(
    driver: VsphereDriver, vcenter: VCenter, instance_id: str
) -> None:
    before = await portgroups(vcenter)
    await driver.start([segment(-1), segment(0)], [])
    # What was given is used as it is.
    assert driver.port_group(segment(-1)) == "DC0_DVPG0"
    assert driver.port_group(segment(0)) == "DC0_DVPG1"
    assert (await portgroups(vcenter)).keys() == before.keys()

    for ordinal in (1, 2, 3):
        await driver.add_segment(segment(ordinal))
        await driver.add_segment(segment(ordinal))
    made = await portgroups(vcenter)
    names = [driver.port_group(segment(ordinal)) for ordinal in (1, 2, 3)]
    ports = [made[name]["config.defaultPortConfig"] for name in names]
    assert [port.vlan.vlanId for port in ports] == [100, 101, 102]
    for port in ports:
        policy = port.securityPolicy
        allowed = (policy.allowPromiscuous, policy.macChanges, policy.forgedTransmits)
        assert [setting.value for setting in allowed] == [False, False, False]
    with pytest.raises(ResourceExhausted, match="100-102"):
        await driver.add_segment(segment(4))

    await driver.remove_segment(2)
    await driver.add_segment(segment(4))
    config = (await portgroups(vcenter))[driver.port_group(segment(4))]["config.defaultPortConfig"]
    assert config.vlan.vlanId == 101
    await driver.remove_segment(0)
    assert "DC0_DVPG1" in await portgroups(vcenter)
    await driver.teardown()
    assert (await portgroups(vcenter)).keys() == before.keys()


async def test_what_others_did_to_our_port_groups_is_put_right(
    driver: VsphereDriver, vcenter: VCenter
) -> None:
    await driver.start([segment(1)], [])
    name = driver.port_group(segment(1))

    async def ours() -> DistributedPortgroup:
        found = await vcenter.call(
            lambda content: read_below(content, content.rootFolder, DistributedPortgroup, ["name"])
        )
        return next(group for group, told in found if told["name"] == name)

    yes = vim.BoolPolicy(inherited=False, value=True)
    switch = vim.dvs.VmwareDistributedVirtualSwitch
    opened = switch.VmwarePortConfigPolicy(
        vlan=switch.VlanIdSpec(inherited=False, vlanId=100),
        securityPolicy=switch.SecurityPolicy(
            inherited=False, allowPromiscuous=yes, macChanges=yes, forgedTransmits=yes
        ),
    )
    spec = DistributedPortgroup.ConfigSpec(
        name=name,
        description=(await portgroups(vcenter))[name]["config.description"],
        defaultPortConfig=opened,
    )
    group = await ours()
    await vcenter.finish(lambda _: group.ReconfigureDVPortgroup_Task(spec))
    assert await driver.restore() == [f"set the policy of port group {name} again"]
    assert await driver.restore() == []
    group = await ours()
    await vcenter.finish(lambda _: group.Destroy_Task())
    assert await driver.restore() == [f"made port group {name}"]


async def test_a_port_group_that_is_not_there_is_named(
    simulated: Simulator, vcenter: VCenter, instance_id: str
) -> None:
    driver = network_driver(simulated, vcenter, instance_id, bridge_networks=["nowhere"])
    with pytest.raises(FailedPrecondition, match="nowhere") as error:
        await driver.add_segment(segment(0))
    assert error.value.reason is Reason.PARENT_MISSING
    outside = segment(5, uplink=Uplink("neither", Level.OPEN))
    with pytest.raises(FailedPrecondition, match="neither"):
        await driver.add_segment(outside)
    await driver.close()
    bare = network_driver(simulated, vcenter, instance_id, switch="", vlans="")
    with pytest.raises(FailedPrecondition, match="--bridge-network"):
        await bare.add_segment(segment(1))
    await bare.close()
    wrong = network_driver(simulated, vcenter, instance_id, switch="/DC0/network/none")
    with pytest.raises(FailedPrecondition, match="/DC0/network/none"):
        await wrong.add_segment(segment(1))
    await wrong.close()


async def test_cards_are_there_or_are_plugged_in(
    driver: VsphereDriver, hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    outside = segment(2, uplink=Uplink("DC0_DVPG0", Level.OPEN))
    await driver.start([segment(0), segment(1), outside], [])
    made = machine(port_group="DC0_DVPG1")
    own = made.endpoints[0].mac_address
    address = IPv4Address("172.17.0.7")
    first = Port("first", 0, own, address, container_id=made.container_id)
    second = Port("second", 1, MAC, address, container_id=made.container_id)
    with pytest.raises(FailedPrecondition) as error:
        await driver.attach([first])
    assert error.value.reason is Reason.TAP_MISSING

    await start(hypervisor, made)
    await driver.attach([first])
    assert driver.attached("first")
    # Into a VM that runs, connected from now on.
    await driver.attach([first, second])
    plugged = await cards(vcenter, made)
    assert set(plugged) == {own, MAC}
    assert plugged[MAC].connectable.startConnected
    # Its network can't be removed now, by us.
    with pytest.raises(FailedPrecondition) as error:
        await driver.remove_segment(1)
    assert error.value.reason is Reason.ACTIVE_ENDPOINTS
    await driver.add_segment(segment(1))

    await driver.detach(["second"])
    assert set(await cards(vcenter, made)) == {own}
    assert not driver.attached("second")
    # One that comes later knows what runs, and one whose VM has ended is forgotten.
    again = VsphereDriver(driver._vcenter, driver._settings, driver._instance_id)
    await again.start([segment(0), segment(1), outside], [first])
    assert again.attached("first")
    await hypervisor.destroy(made.container_id)
    assert await again.restore() == []
    assert not again.attached("first")


async def test_a_port_group_that_another_vch_uses_stays(
    simulated: Simulator, driver: VsphereDriver, vcenter: VCenter
) -> None:
    await driver.start([segment(0), segment(1)], [])
    name = driver.port_group(segment(1))
    other = new_driver(simulated, PLACE, secrets.token_hex(4))
    await other.open()
    theirs = machine(port_group=name)
    await other.create(theirs)
    with pytest.raises(FailedPrecondition, match=f"{name} is in use by VM web-") as error:
        await driver.remove_segment(1)
    assert error.value.reason is Reason.ACTIVE_ENDPOINTS
    assert name in await portgroups(vcenter)
    await other.destroy(theirs.container_id)
    await other.close()
    await driver.remove_segment(1)
    assert name not in await portgroups(vcenter)


async def test_members_that_cant_reach_one_another(
    driver: VsphereDriver, hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    # The second port group that was given isn't taken: what it does isn't ours to say.
    apart = segment(0, isolated=True)
    await driver.start([apart], [])
    name = driver.port_group(apart)
    assert name not in ("DC0_DVPG1", driver.port_group(segment(0)))
    rules = isolation(apart)

    async def policy() -> Any:
        return (await portgroups(vcenter))[name]["config.defaultPortConfig"].filterPolicy

    assert has_rules(await policy(), rules)
    assert await driver.restore() == []
    # Somebody takes a rule away, or turns them off.
    for spoil in (_without_a_rule, _turned_off):
        await reconfigured(vcenter, name, filterPolicy=spoil(await policy()))
        assert not has_rules(await policy(), rules)
        assert await driver.restore() == [f"set the policy of port group {name} again"]
        assert has_rules(await policy(), rules)
    assert await driver.restore() == []

    made = machine(port_group=name)
    await start(hypervisor, made)
    address = IPv4Address("172.17.0.7")
    own = Port("own", 0, mac_of(address), address, container_id=made.container_id)
    await driver.attach([own])
    # The rules would take this one for a stranger, who reaches all.
    wished = Port("wished", 0, "02:43:00:00:00:01", address, container_id=made.container_id)
    with pytest.raises(NotImplementedYet, match="--mac-address 02:43:00:00:00:01"):
        await driver.attach([wished])
    assert driver.attached("own")
    assert not driver.attached("wished")
    await hypervisor.destroy(made.container_id)
    await driver.remove_segment(0)
    assert name not in await portgroups(vcenter)


async def test_a_switch_that_cant_filter_is_named() -> None:
    with simulator("-filters=false") as running:
        vcenter = VCenter(running.target())
        await vcenter.open()
        before = (await portgroups(vcenter)).keys()
        driver = network_driver(running, vcenter, secrets.token_hex(4))
        with pytest.raises(FailedPrecondition, match=r"DVS0 can't filter traffic.*5\.5"):
            await driver.add_segment(segment(1, isolated=True))
        assert (await portgroups(vcenter)).keys() == before
        await driver.add_segment(segment(1))
        await driver.teardown()
        await driver.close()
        await vcenter.close()


async def test_networks_outside_that_have_to_do_with_nobody_outside(
    driver: VsphereDriver, hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    before = await portgroups(vcenter)
    peers = segment(1, uplink=Uplink("DC0_DVPG0", Level.PEERS))
    closed = segment(2, uplink=Uplink("VM Network", Level.CLOSED))
    await driver.start([peers, closed], [])
    made = await portgroups(vcenter)
    ports = [made[driver.port_group(one)]["config.defaultPortConfig"] for one in (peers, closed)]
    # No way outside: a VLAN that nobody else is in.
    assert [port.vlan.vlanId for port in ports] == [100, 101]
    assert [port.blocked is not None and port.blocked.value for port in ports] == [False, True]
    await reconfigured(
        vcenter, driver.port_group(closed), blocked=vim.BoolPolicy(inherited=False, value=False)
    )
    assert await driver.restore() == [
        f"set the policy of port group {driver.port_group(closed)} again"
    ]
    assert await driver.restore() == []

    vm = machine(port_group=driver.port_group(peers))
    await start(hypervisor, vm)
    address = IPv4Address("172.18.0.7")
    mac = vm.endpoints[0].mac_address
    await driver.attach([Port("a", 1, mac, address, Level.PEERS, container_id=vm.container_id)])
    assert driver.attached("a")
    await hypervisor.destroy(vm.container_id)

    nowhere = segment(3, uplink=Uplink("neither", Level.PEERS))
    with pytest.raises(FailedPrecondition, match="neither") as error:
        await driver.add_segment(nowhere)
    assert error.value.reason is Reason.PARENT_MISSING
    await driver.teardown()
    assert (await portgroups(vcenter)).keys() == before.keys()


async def test_what_needs_a_port_group_of_ours_says_so(
    simulated: Simulator, vcenter: VCenter, instance_id: str
) -> None:
    bare = network_driver(simulated, vcenter, instance_id, switch="", vlans="")
    with pytest.raises(FailedPrecondition, match=r"enable_icc=false.*--switch and --vlans"):
        await bare.add_segment(segment(0, isolated=True))
    outside = segment(1, uplink=Uplink("DC0_DVPG0", Level.PEERS))
    with pytest.raises(FailedPrecondition, match=r"level peers.*--switch and --vlans"):
        await bare.add_segment(outside)
    await bare.close()


async def test_what_a_port_group_cant_do_is_refused_by_name(driver: VsphereDriver) -> None:
    for level in (Level.OUTBOUND, Level.PUBLISHED):
        with pytest.raises(NotImplementedYet, match=f"level {level} .*doesn't remember who began"):
            await driver.add_segment(segment(1, uplink=Uplink("DC0_DVPG0", level)))
    address = IPv4Address("172.17.0.2")
    published = Forward(Transport.TCP, IPv4Address("0.0.0.0"), 8080, address, 80)
    with pytest.raises(NotImplementedYet, match="published"):
        await driver.forward([published], [])
    await driver.forward([Forward(Transport.TCP, address, 80, address, 80)], [published])
