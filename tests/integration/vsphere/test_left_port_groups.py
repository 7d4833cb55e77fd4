"""Port groups that an interrupted call has left, and those that share a VLAN after one."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pyVmomi import vim
from pyVmomi.SoapAdapter import SoapStubAdapter

from portlayer.errors import FailedPrecondition, Reason, Unavailable
from portlayer.vsphere.lookup import DistributedPortgroup
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.network.drivers import Level, Segment, Uplink
from services.network.drivers.vsphere import portgroups as of_portgroups
from services.network.drivers.vsphere.driver import VsphereDriver
from services.network.drivers.vsphere.isolation import has_rules, isolation
from services.network.drivers.vsphere.portgroups import Portgroups, Wanted, mark, own_name
from tests.integration.vsphere.hypervisor import count_calls, machine, start
from tests.integration.vsphere.test_network import (
    driver,
    hypervisor,
    instance_id,
    network_driver,
    portgroups,
    reconfigured,
    segment,
)
from tests.vcenter import Simulator

__all__ = ["driver", "hypervisor", "instance_id"]

Switch = vim.dvs.VmwareDistributedVirtualSwitch
APART = segment(1, isolated=True)
SHUT = segment(1, uplink=Uplink("VM Network", Level.CLOSED))
TOGETHER = segment(1)


@pytest.fixture
async def another(
    simulated: Simulator, vcenter: VCenter
) -> AsyncIterator[Callable[[str], VsphereDriver]]:
    """Makes other drivers: of the same instance as after a kill, or of another VCH."""
    async with AsyncExitStack() as undo:

        def make(instance_id: str) -> VsphereDriver:
            made = network_driver(simulated, vcenter, instance_id)
            undo.push_async_callback(made.close)
            undo.push_async_callback(made.teardown)
            return made

        yield make


async def setting(vcenter: VCenter, name: str) -> Any:
    """Return the setting of a port group."""
    return (await portgroups(vcenter))[name]["config.defaultPortConfig"]


async def vlan(vcenter: VCenter, name: str) -> int:
    """Return the VLAN of a port group."""
    return int((await setting(vcenter, name)).vlan.vlanId)


async def have_vlan(vcenter: VCenter, name: str, vlan_id: int) -> None:
    """Have a port group with a VLAN that another may have as well."""
    await reconfigured(vcenter, name, vlan=Switch.VlanIdSpec(inherited=False, vlanId=vlan_id))


@pytest.mark.parametrize("left", [APART, SHUT], ids=["isolated", "closed"])
@pytest.mark.parametrize("later", [TOGETHER, APART, SHUT], ids=["open", "isolated", "closed"])
async def test_the_next_network_has_nothing_of_the_one_before(
    driver: VsphereDriver,
    another: Callable[[str], VsphereDriver],
    vcenter: VCenter,
    left: Segment,
    later: Segment,
) -> None:
    await driver.add_segment(left)
    again = another(driver._instance_id)
    await again.start([later], [])
    found = await setting(vcenter, again.port_group(later))
    assert has_rules(found.filterPolicy, isolation(later) if later.isolated else ())
    assert found.blocked.value == (later is SHUT)
    assert await again.restore() == []


async def test_what_was_interrupted_is_undone_without_the_network_being_known(
    driver: VsphereDriver, another: Callable[[str], VsphereDriver], vcenter: VCenter
) -> None:
    await driver.add_segment(APART)
    again = another(driver._instance_id)
    await again.remove_segment(1)
    assert driver.port_group(APART) not in await portgroups(vcenter)


async def test_port_groups_of_no_network_are_removed_once_no_vm_uses_them(
    driver: VsphereDriver,
    another: Callable[[str], VsphereDriver],
    hypervisor: VsphereHypervisor,
    vcenter: VCenter,
) -> None:
    left, used = segment(1), segment(2)
    for one in (left, used):
        await driver.add_segment(one)
    vm = machine(port_group=driver.port_group(used))
    await start(hypervisor, vm)

    again = another(driver._instance_id)
    # Whose they are isn't known yet.
    assert await again.restore() == []
    await again.start([segment(0)], [])
    gone, kept = driver.port_group(left), driver.port_group(used)
    assert await again.restore() == [f"removed port group {gone}, which is no network's"]
    assert gone not in await portgroups(vcenter)
    assert await again.restore() == []
    assert kept in await portgroups(vcenter)
    # Nor where its removal was refused.
    with pytest.raises(FailedPrecondition) as error:
        await again.remove_segment(2)
    assert error.value.reason is Reason.ACTIVE_ENDPOINTS
    assert await again.restore() == []
    await hypervisor.destroy(vm.container_id)
    assert await again.restore() == [f"removed port group {kept}, which is no network's"]
    assert kept not in await portgroups(vcenter)


async def test_what_is_not_ours_stays_whatever_it_is_called(
    simulated: Simulator, driver: VsphereDriver, vcenter: VCenter, instance_id: str
) -> None:
    await driver.start([segment(1)], [])
    groups = Portgroups(
        driver._vcenter, driver._settings.folder, driver._settings.switch, range(200, 210)
    )
    other = secrets.token_hex(4)
    foreign = [
        Wanted(own_name(instance_id, 2), "an administrator's"),
        Wanted(f"{own_name(instance_id, 3)}-copy", mark(instance_id)),
        Wanted(f"of {instance_id}", mark(instance_id)),
        Wanted(own_name(other, 4), mark(other)),
    ]
    for wanted in foreign:
        await groups.ensure([wanted])
    before = (await portgroups(vcenter)).keys()
    assert await driver.restore() == []
    assert (await portgroups(vcenter)).keys() == before
    for wanted in foreign:
        await groups.remove(wanted.name, wanted.label)


async def test_the_younger_of_two_with_one_vlan_gets_another(
    driver: VsphereDriver, another: Callable[[str], VsphereDriver], vcenter: VCenter
) -> None:
    other = another(secrets.token_hex(4))
    await other.start([segment(1)], [])
    await driver.start([segment(1)], [])
    older, younger = other.port_group(segment(1)), driver.port_group(segment(1))
    assert (await vlan(vcenter, older), await vlan(vcenter, younger)) == (100, 101)
    # As a kill leaves it when both have chosen at once.
    await have_vlan(vcenter, younger, 100)
    assert await other.restore() == []
    again = another(driver._instance_id)
    await again.start([segment(1)], [])
    assert (await vlan(vcenter, older), await vlan(vcenter, younger)) == (100, 101)
    await have_vlan(vcenter, younger, 100)
    assert await driver.restore() == [f"gave port group {younger} VLAN 101, which no other has"]
    assert await driver.restore() == []


async def test_port_groups_that_others_remove_while_they_are_read_are_left_out(
    driver: VsphereDriver, vcenter: VCenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.start([segment(1)], [])
    ours = await driver._portgroups.of_switch()

    def with_one_more(*asked: Any) -> Any:
        ((switch, told),) = read(*asked)
        gone = DistributedPortgroup("dvportgroup-0", switch._stub)
        return [(switch, {"portgroup": [gone, *told["portgroup"]]})]

    monkeypatch.setattr(of_portgroups, "read", with_one_more)
    assert [group.name for group in await driver._portgroups.of_switch()] == [
        group.name for group in ours
    ]
    assert await driver.restore() == []


async def test_one_whose_vlan_was_taken_away_gets_one(
    driver: VsphereDriver, vcenter: VCenter
) -> None:
    await driver.start([segment(1)], [])
    name = driver.port_group(segment(1))
    every = Switch.TrunkVlanSpec(inherited=False, vlanId=[vim.NumericRange(start=0, end=4094)])
    for changed in (every, Switch.VlanIdSpec(inherited=False, vlanId=0)):
        await reconfigured(vcenter, name, vlan=changed)
        assert await driver.restore() == [f"gave port group {name} VLAN 100, which no other has"]
        assert await vlan(vcenter, name) == 100
    assert await driver.restore() == []


async def test_the_number_of_calls_does_not_grow_with_the_networks(
    driver: VsphereDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.start([segment(1)], [])
    calls = count_calls(monkeypatch)
    await driver.start([segment(1)], [])
    assert await driver.restore() == []
    for_one = sorted(calls)
    for ordinal in (2, 3):
        await driver.add_segment(segment(ordinal))
    calls.clear()
    await driver.start([segment(ordinal) for ordinal in (1, 2, 3)], [])
    assert await driver.restore() == []
    assert sorted(calls) == for_one


@pytest.mark.parametrize("carried_out", [False, True])
async def test_what_a_broken_connection_leaves_in_doubt_is_put_right(
    driver: VsphereDriver, vcenter: VCenter, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    invoke: Callable[..., Any] = SoapStubAdapter.InvokeMethod
    to_break = ["AddDVPortgroup_Task", "Destroy_Task"]

    def break_once(self: Any, mo: object, info: Any, *rest: object) -> Any:
        name = getattr(info, "wsdlName", "")
        if name not in to_break:
            return invoke(self, mo, info, *rest)
        to_break.remove(name)
        if carried_out:
            invoke(self, mo, info, *rest)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(SoapStubAdapter, "InvokeMethod", break_once)
    await driver.start([], [])
    with pytest.raises(Unavailable):
        await driver.add_segment(APART)
    await driver.add_segment(TOGETHER)
    name = driver.port_group(TOGETHER)
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, DistributedPortgroup, ["name"])
    )
    assert [told["name"] for _, told in found].count(name) == 1
    assert has_rules((await setting(vcenter, name)).filterPolicy, ())

    with pytest.raises(Unavailable):
        await driver.remove_segment(1)
    left = [] if carried_out else [f"removed port group {name}, which is no network's"]
    assert await driver.restore() == left
    assert name not in await portgroups(vcenter)
    assert to_break == []
