"""What the platform has to provide for a network."""

from services.network.drivers import Segment, Uplink
from services.network.model import Network
from services.network.options import parse_options


def segment_of(network: Network, default_mtu: int) -> Segment:
    """Return the segment of a network that has one.

    `default_mtu`, in bytes, is that of networks that name none.
    """
    assert network.pool is not None
    assert network.ordinal is not None
    subnet, gateway = network.pool.subnet, network.pool.gateway
    if network.predefined:
        return Segment(network.ordinal, subnet, gateway, default_mtu)
    if network.external is not None:
        uplink = Uplink(network.external.parent, network.external.level)
        mtu = parse_options(network.options, default_mtu).mtu
        return Segment(
            *(network.ordinal, subnet, gateway, mtu),
            subnet6=None if network.pool6 is None else network.pool6.subnet,
            gateway6=None if network.pool6 is None else network.pool6.gateway,
            uplink=uplink,
        )
    options = parse_options(network.options, default_mtu)
    return Segment(
        network.ordinal,
        subnet,
        gateway,
        options.mtu,
        isolated=not options.icc,
        outward=not network.internal,
        masquerade=options.masquerade,
        name_server=True,
        subnet6=None if network.pool6 is None else network.pool6.subnet,
        gateway6=None if network.pool6 is None else network.pool6.gateway,
    )
