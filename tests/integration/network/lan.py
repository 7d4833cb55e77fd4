"""A LAN of the host's surroundings, mapped as an external network."""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from services.network.drivers import Level, Transport
from services.network.external import PortWish
from services.network.model import External
from services.network.plans import Plan
from tests.integration.network.conftest import LAN_ROUTER, LAN_ROUTER6, Facet
from tests.integration.network.guest import Guest
from tests.integration.network.namespaces import Outside

LAN = IPv4Network("10.2.0.0/24")
LAN6 = IPv6Network("2001:db8:2::/64")


def mac_of_outside(outside: Outside) -> str:
    """Return the MAC address by which a machine on the LAN is reached."""
    mac: str = json.loads(outside.run("ip", "-json", "link", "show", "eth0"))[0]["address"]
    return mac


async def mapped(facet: Facet, parent: str, level: Level = Level.PUBLISHED) -> None:
    """Map the LAN."""
    await facet.networks.create(
        Plan(
            "lan",
            subnet=LAN,
            gateway=IPv4Address(LAN_ROUTER),
            ip_range=IPv4Network("10.2.0.64/28"),
            ipv6=True,
            subnet6=LAN6,
            gateway6=IPv6Address(LAN_ROUTER6),
            ip_range6=IPv6Network("2001:db8:2::40/122"),
            external=External(parent, level),
        )
    )


async def on_lan(facet: Facet, name: str, *ports: int) -> Guest:
    """Return the card of a container on the LAN that publishes UDP and TCP ports."""
    _, card = await facet.container(name, "lan")
    wishes = [PortWish(kind, port) for port in ports for kind in Transport]
    await facet.publications.publish(name, wishes)
    return card
