"""Changing a VM, and its network cards: what exec and network do alike."""

from collections.abc import Callable, Sequence

from pyVmomi import vim, vmodl

from portlayer.errors import Reason, VicError
from portlayer.vsphere.faults import is_broken_connection
from portlayer.vsphere.lookup import Backing
from portlayer.vsphere.properties import read, settle
from portlayer.vsphere.session import Unsure, VCenter

Device = vim.vm.device.VirtualDevice
Card = vim.vm.device.VirtualEthernetCard

# Attempts at a change that somebody else's came before.
ATTEMPTS = 5


PowerState = vim.VirtualMachine.PowerState


async def power_on(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Let a VM run that is off or suspended. Raises VicError."""
    await vcenter.finish(lambda _: vm.PowerOnVM_Task(), _is(vm, PowerState.poweredOn))


async def power_off(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Power a VM off at once. Raises VicError, also where it is off."""
    await vcenter.finish(lambda _: vm.PowerOffVM_Task(), _is(vm, PowerState.poweredOff))


async def suspend(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Suspend a VM that runs. Raises VicError."""
    await vcenter.finish(lambda _: vm.SuspendVM_Task(), _is(vm, PowerState.suspended))


async def destroy(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Delete a VM that is off, with the disks that are attached to it. Raises VicError."""

    def is_gone(content: vim.ServiceInstanceContent) -> bool | None:
        try:
            read(content, [vm], vim.VirtualMachine, ["name"])
        except vmodl.fault.ManagedObjectNotFound:
            return True
        return None

    await vcenter.finish(lambda _: vm.Destroy_Task(), Unsure(vm, is_gone))


def _is(vm: vim.VirtualMachine, state: vim.VirtualMachine.PowerState) -> Unsure[bool]:
    def look(content: vim.ServiceInstanceContent) -> bool | None:
        ((_, told),) = read(content, [vm], vim.VirtualMachine, ["runtime.powerState"])
        return True if told["runtime.powerState"] == state else None

    return Unsure(vm, look)


async def reconfigure(
    vcenter: VCenter,
    vm: vim.VirtualMachine,
    change: Callable[[Sequence[Device]], vim.vm.ConfigSpec | None],
) -> None:
    """Change a VM, given its devices, if it is still what was looked at; else look again.

    So is done where the connection broke and it isn't known whether the change was made: ``change``
    asks for what is missing. Nothing is changed where it says so by None. Raises VicError.
    """

    def start(content: vim.ServiceInstanceContent) -> vim.Task | None:
        paths = ["config.hardware.device", "config.changeVersion"]
        ((_, told),) = read(content, [vm], vim.VirtualMachine, paths)
        spec = change(told["config.hardware.device"])
        if spec is None:
            return None
        spec.changeVersion = told.get("config.changeVersion")
        task: vim.Task = vm.ReconfigVM_Task(spec)
        return task

    for attempt in range(1, ATTEMPTS + 1):
        try:
            await vcenter.finish(start)
        except VicError as error:
            unsure = is_broken_connection(error.__cause__)
            stale = error.reason is Reason.PLATFORM_OBJECT_CHANGED
            if not (stale or unsure) or attempt == ATTEMPTS:
                raise
            if unsure:
                await vcenter.call(lambda content: settle(content, vm), repeatable=True)
        else:
            return


def network_card(key: int, mac_address: str, backing: Backing) -> Card:
    """Return a card that is connected from the moment that its VM is on."""
    return vim.vm.device.VirtualVmxnet3(
        key=key,
        addressType=vim.vm.device.VirtualEthernetCardOption.MacTypes.manual,
        macAddress=mac_address,
        backing=backing,
        connectable=vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=True, connected=True, allowGuestControl=False
        ),
    )


def card_of(devices: Sequence[Device], mac_address: str) -> Card | None:
    """Return the card that has an address."""
    for device in devices:
        if isinstance(device, Card) and (device.macAddress or "").lower() == mac_address.lower():
            return device
    return None
