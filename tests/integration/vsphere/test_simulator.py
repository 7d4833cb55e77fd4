"""What we added to the simulator does as vCenter documents it."""

import secrets

import pytest
from pyVmomi import vim

from portlayer.errors import FailedPrecondition, NotFound, VicError
from portlayer.vsphere.identity import options
from portlayer.vsphere.lookup import DistributedPortgroup, find
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from tests.integration.vsphere.others import find_vm
from tests.vcenter import Simulator, simulator

Traffic = vim.dvs.TrafficRule
SPEC = vim.vm.InstantCloneSpec(
    name="clone",
    location=vim.vm.RelocateSpec(),
    config=[vim.option.OptionValue(key="guestinfo.vic.boot", value=secrets.token_hex(4))],
)


async def test_a_running_vm_is_cloned_and_runs_with_its_own_configuration() -> None:
    with simulator("-machines", "1") as running:
        vcenter = VCenter(running.target())
        await vcenter.open()
        source = await find_vm(vcenter, "DC0_C0_RP0_VM0")
        assert source is not None
        clone = await vcenter.finish(lambda _: source.InstantClone_Task(SPEC))
        paths = ["name", "runtime.powerState", "config.extraConfig", "config.hardware.memoryMB"]
        found = await vcenter.call(
            lambda content: read(content, [source, clone], vim.VirtualMachine, paths)
        )
        told = {properties["name"]: properties for _, properties in found}
        assert told["clone"]["runtime.powerState"] == "poweredOn"
        same = "config.hardware.memoryMB"
        assert told["clone"][same] == told["DC0_C0_RP0_VM0"][same]
        keys = options(told["clone"]["config.extraConfig"])
        assert keys["guestinfo.vic.boot"] == SPEC.config[0].value

        await vcenter.finish(lambda _: source.PowerOffVM_Task())
        with pytest.raises(FailedPrecondition, match="poweredOff"):
            await vcenter.finish(lambda _: source.InstantClone_Task(SPEC))
        await vcenter.close()


async def test_what_is_not_there_is_not_cloned(simulated: Simulator, vcenter: VCenter) -> None:
    gone = vim.VirtualMachine("vm-0", await vcenter.call(lambda content: content.rootFolder._stub))
    with pytest.raises(NotFound):
        await vcenter.finish(lambda _: gone.InstantClone_Task(SPEC))


async def test_traffic_filters_and_versions_of_port_groups(vcenter: VCenter) -> None:
    address = vim.MacRange(address="02:42:ac:11:00:00", mask="ff:ff:ff:ff:00:00")
    mac = Traffic.MacQualifier(sourceAddress=address)
    rule = Traffic(sequence=1, direction="both", qualifier=[mac], action=Traffic.DropAction())
    group = DistributedPortgroup.ConfigSpec(name="filtered", type="earlyBinding", numPorts=1)
    group.defaultPortConfig = _filtering(rule)

    def start(content: vim.ServiceInstanceContent) -> vim.Task:
        switch = find(content, "/DC0/network/DVS0")
        assert isinstance(switch, vim.DistributedVirtualSwitch)
        task: vim.Task = switch.AddDVPortgroup_Task([group])
        return task

    async def add() -> None:
        await vcenter.finish(start)

    # One of a kind, and with something to do.
    rule.qualifier = [mac, mac]
    with pytest.raises(VicError, match="qualifier"):
        await add()
    rule.qualifier, rule.action = [mac], None
    with pytest.raises(VicError, match="rules"):
        await add()
    rule.action = Traffic.DropAction()
    await add()
    paths = ["name", "config.configVersion", "config.defaultPortConfig"]
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, DistributedPortgroup, paths)
    )
    made, told = next(one for one in found if one[1]["name"] == "filtered")
    (there,) = told["config.defaultPortConfig"].filterPolicy.filterConfig[0].trafficRuleset.rules
    assert there.key
    assert there.qualifier[0].sourceAddress.mask == "ff:ff:ff:ff:00:00"
    group.configVersion = told["config.configVersion"]
    await vcenter.finish(lambda _: made.ReconfigureDVPortgroup_Task(group))
    with pytest.raises(VicError, match="ConcurrentAccess"):
        await vcenter.finish(lambda _: made.ReconfigureDVPortgroup_Task(group))
    await vcenter.finish(lambda _: made.Destroy_Task())


def _filtering(
    rule: vim.dvs.TrafficRule,
) -> vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy:
    """Return the setting of a port group with one rule."""
    port = vim.dvs.DistributedVirtualPort
    ruleset = vim.dvs.TrafficRuleset(enabled=True, rules=[rule])
    config = port.TrafficFilterConfig(inherited=False, trafficRuleset=ruleset)
    return vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy(
        filterPolicy=port.FilterPolicy(inherited=False, filterConfig=[config])
    )
