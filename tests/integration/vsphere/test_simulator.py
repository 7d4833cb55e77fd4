"""What we added to the simulator does as vCenter documents it."""

import secrets

import pytest
from pyVmomi import vim

from portlayer.errors import FailedPrecondition, NotFound
from portlayer.vsphere.identity import options
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter
from tests.integration.vsphere.others import find_vm
from tests.vcenter import Simulator, simulator

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
