"""The address at which container VMs of a vCenter reach the VCH whose services run here."""

import socket
from ipaddress import IPv4Address, IPv4Interface

from installer.errors import PreconditionError
from installer.instance import Instance
from portlayer.management import management_subnet


def require_address(instance: Instance) -> None:
    """Raise PreconditionError where this machine lacks the management network's gateway address.

    Without it no tether finds the VCH, and interaction can't serve them.
    """
    address = management_interface(instance.slot)
    if refused := bind_error(address.ip):
        port_group = instance.options.vsphere["management_network"]
        raise PreconditionError(
            f"container VMs reach the VCH at {address.ip}, which no interface of this machine "
            f"has ({refused}); give it to the one that is in port group {port_group}: "
            f"ip address add {address} dev INTERFACE"
        )


def bind_error(address: IPv4Address) -> str:
    """Return why nothing on this machine can listen at an address, or ""."""
    with socket.socket() as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return str(error.strerror)
    return ""


def management_interface(slot: int) -> IPv4Interface:
    """Return the gateway's address in the management network of a slot."""
    subnet = management_subnet(slot)
    return IPv4Interface((subnet[1], subnet.prefixlen))
