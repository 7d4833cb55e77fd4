"""The taps of a machine, as its endpoints ask for them."""

from vic.hostagent.v1 import hostagent_pb2
from vic.network.v1 import network_pb2

from services.exec.drivers import MachineSpec

# What every machine has from its beginning; see hostagent.proto.
PLACED_NICS = 2


def has_tap(endpoint: network_pb2.Endpoint) -> bool:
    """Tell whether an endpoint has a NIC."""
    return bool(endpoint.tap_name)


def nics(machine: MachineSpec) -> list[hostagent_pb2.Nic]:
    """Return the taps to be made, management first."""
    connected = [endpoint for endpoint in machine.endpoints if has_tap(endpoint)]
    ordered = sorted(connected, key=lambda endpoint: not endpoint.management)
    return list(map(nic, ordered))


def nic(endpoint: network_pb2.Endpoint) -> hostagent_pb2.Nic:
    """Return the NIC of an endpoint."""
    return hostagent_pb2.Nic(tap_name=endpoint.tap_name, mac_address=endpoint.mac_address)
