"""Removing a container's VM, whose disk stays; and keeping others from removing it with that."""

import logging
from collections.abc import Sequence
from contextlib import suppress

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, NotFound, VicError
from portlayer.vsphere import methods
from portlayer.vsphere.machines import destroy, power_off, reconfigure
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.found import OFF
from services.exec.drivers.vsphere.hardware import detach_disks

log = logging.getLogger("vic.exec.vsphere")


async def protect(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Keep others from deleting a VM with its disks, where our role lets us."""
    try:
        await vcenter.call(lambda content: methods.disable(content, vm))
    except VicError as error:
        log.warning("others can delete container VMs with their disks: %s", error.message)


async def remove(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Power a VM off, take its disks from it, and destroy it. Idempotent."""
    with suppress(NotFound):
        ((_, told),) = await vcenter.call(
            lambda content: read(content, [vm], vim.VirtualMachine, ["runtime.powerState"]),
            repeatable=True,
        )
        if told["runtime.powerState"] != OFF:
            with suppress(FailedPrecondition):  # It ended by itself meanwhile.
                await power_off(vcenter, vm)
        await reconfigure(
            vcenter,
            vm,
            _let_go,
        )
        await _allow(vcenter, vm)
        await destroy(vcenter, vm)


async def _allow(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Take the protection away again; who may not do that could not set it."""
    try:
        await vcenter.call(lambda content: methods.enable(content, vm))
    except NotFound:
        raise
    except VicError as error:
        log.info("%s", error.message)


def _let_go(devices: Sequence[vim.vm.device.VirtualDevice]) -> vim.vm.ConfigSpec | None:
    """Take a VM's disks from it: vCenter deletes with a VM what is attached to it."""
    changes = detach_disks(devices)
    return vim.vm.ConfigSpec(deviceChange=changes) if changes else None
