"""The taps of a machine, as its endpoints ask for them."""

from vic.hostagent.v1 import hostagent_pb2
from vic.network.v1 import network_pb2

from services.exec.drivers import MachineSpec


def has_tap(endpoint: network_pb2.Endpoint) -> bool:
    """Tell whether an endpoint has a NIC."""
    return bool(endpoint.tap_name)


def nics(machine: MachineSpec) -> list[hostagent_pb2.Nic]:
    """Return the taps to be made, management first."""
    connected = [endpoint for endpoint in machine.endpoints if has_tap(endpoint)]
    ordered = sorted(connected, key=lambda endpoint: not endpoint.management)
    return [hostagent_pb2.Nic(tap_name=e.tap_name, mac_address=e.mac_address) for e in ordered]
