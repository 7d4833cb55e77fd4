"""Changing a VM, and its network cards: what exec and network do alike."""

from collections.abc import Callable, Sequence

from pyVmomi import vim

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.lookup import Backing
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter

Device = vim.vm.device.VirtualDevice
Card = vim.vm.device.VirtualEthernetCard

# Attempts at a change that somebody else's came before.
ATTEMPTS = 5


async def reconfigure(
    vcenter: VCenter,
    vm: vim.VirtualMachine,
    change: Callable[[Sequence[Device]], vim.vm.ConfigSpec | None],
) -> None:
    """Change a VM, given its devices, if it is still what was looked at; else look again.

    Nothing is changed where ``change`` says so by None. Raises VicError.
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
        except FailedPrecondition as error:
            stale = error.reason is Reason.PLATFORM_OBJECT_CHANGED
            if not stale or attempt == ATTEMPTS:
                raise
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
