"""Cards of VMs that run: what has to change for each to be in its port group, or gone."""

from collections.abc import Mapping, Sequence

from pyVmomi import vim

from portlayer.vsphere.lookup import Backing
from portlayer.vsphere.machines import Card, Device, card_of, network_card
from services.network.drivers import Port

Change = vim.vm.device.VirtualDeviceSpec


def plugged(
    devices: Sequence[Device], ports: Sequence[Port], backings: Mapping[int, Backing]
) -> vim.vm.ConfigSpec | None:
    """Return what is missing of cards; None where all are as they should be."""
    changes = []
    for index, port in enumerate(ports):
        backing = backings[port.ordinal]
        card = card_of(devices, port.mac)
        if card is None:
            added = network_card(-1 - index, port.mac, backing)
            changes.append(Change(operation=Change.Operation.add, device=added))
        elif not _connects(card, backing):
            card.backing = backing
            changes.append(Change(operation=Change.Operation.edit, device=card))
    if not changes:
        return None
    checks = [
        vim.option.OptionValue(key=f"ethernet{index}.checkMACAddress", value="FALSE")
        for index in range(len([d for d in devices if isinstance(d, Card)]) + len(changes))
    ]
    return vim.vm.ConfigSpec(deviceChange=changes, extraConfig=checks)


def unplugged(devices: Sequence[Device], ports: Sequence[Port]) -> vim.vm.ConfigSpec | None:
    """Return what takes the ports' cards out; None where none is there."""
    cards = [card for port in ports if (card := card_of(devices, port.mac)) is not None]
    if not cards:
        return None
    remove = Change.Operation.remove
    return vim.vm.ConfigSpec(deviceChange=[Change(operation=remove, device=c) for c in cards])


def _connects(card: Card, backing: Backing) -> bool:
    """Tell whether a card is in a port group."""
    has, port = getattr(card.backing, "port", None), getattr(backing, "port", None)
    if port is not None:
        return has is not None and has.portgroupKey == port.portgroupKey
    return getattr(card.backing, "deviceName", None) == getattr(backing, "deviceName", "")
