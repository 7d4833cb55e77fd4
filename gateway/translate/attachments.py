"""Networks that a container is to be in, as create and connect ask for them."""

from collections.abc import Mapping
from typing import Any

from vic.exec.v1.container_pb2 import NetworkAttachment

from gateway.errors import bad_parameter, not_possible
from gateway.fields import Fields

_DEFAULT_NETWORKS = ("default", "bridge")
_NO_NETWORK = "none"
# Versions of the API that came with several endpoints at once and a MAC address for each, and with
# priorities of gateways.
SEVERAL_ENDPOINTS = (1, 44)
_GATEWAY_PRIORITIES = (1, 48)
# What dockerd fills in by itself, and ignores where it is sent.
_TOLD = (
    *("Gateway", "IPAddress", "IPPrefixLen"),
    *("IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen"),
)


def read_attachments(
    fields: Fields, mode: str, version: tuple[int, int]
) -> list[NetworkAttachment]:
    """Return the networks to join, the one of the network mode first; none where that is all.

    Those that are named are the only ones, whatever the mode says: who is to be on a network
    without a way out must not get one by chance. So the mode's network, which may be named by its
    ID as well, is joined once, and who asks for the mode "none" and for a network is on that
    network. Source: postContainersCreate and updateContainerNetworkSettings of moby.
    """
    endpoints = _by_network(fields.mapping("EndpointsConfig"))
    fields.finish()
    if len(endpoints) > 1 and version < SEVERAL_ENDPOINTS:
        raise bad_parameter(
            "Container cannot be created with multiple network endpoints: " + ", ".join(endpoints)
        )
    main = _network_name(mode)
    if _NO_NETWORK in endpoints and len(endpoints) > 1:
        raise bad_parameter(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
    attachments = [
        read_attachment(network, Fields(settings, f"NetworkingConfig.EndpointsConfig.{network}"))
        for network, settings in endpoints.items()
    ]
    for attachment in attachments:
        # What a version didn't have yet, dockerd leaves out.
        if version < SEVERAL_ENDPOINTS:
            attachment.mac_address = ""
        if version < _GATEWAY_PRIORITIES:
            attachment.gateway_priority = 0
    return sorted(attachments, key=lambda attachment: attachment.network != main)


def place_mac_address(
    mac: str, attachments: list[NetworkAttachment], mode: str, version: tuple[int, int]
) -> None:
    """Give the main network the MAC address that clients before 1.44 ask for container-wide.

    Source: handleMACAddressBC of moby.
    """
    if not mac:
        return
    main = _network_name(mode)
    old = version < SEVERAL_ENDPOINTS
    if main == _NO_NETWORK:
        if old:
            raise bad_parameter("conflicting options: mac-address and the network mode")
        return
    if not attachments:
        attachments.append(NetworkAttachment(network=main))
    # Before 1.44 it is of the one endpoint that there may be, whatever the mode says.
    if not old and attachments[0].network != main:
        raise bad_parameter(
            "unable to migrate container-wide MAC address to a specific network: "
            "HostConfig.NetworkMode must match the identity of a network in "
            "NetworkSettings.Networks"
        )
    if attachments[0].mac_address not in ("", mac):
        raise bad_parameter(
            "the container-wide MAC address must match the endpoint-specific MAC address for the "
            "main network, or be left empty"
        )
    attachments[0].mac_address = mac


def without_what_the_mode_says(
    attachments: list[NetworkAttachment], mode: str
) -> list[NetworkAttachment]:
    """Return none where the network mode alone asks for the same."""
    said = [NetworkAttachment(network=_network_name(mode))]
    return [] if attachments == said else attachments


def _by_network(endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """Return endpoints' settings with "default" by its name; it counts where both are there."""
    default, bridge = _DEFAULT_NETWORKS
    named = dict(endpoints)
    if default in named:
        named[bridge] = named.pop(default)
    return named


def _network_name(name: str) -> str:
    return _DEFAULT_NETWORKS[1] if name in _DEFAULT_NETWORKS else name


def read_attachment(network: str, endpoint: Fields) -> NetworkAttachment:
    """Return what an endpoint's settings ask for. Raises 400, and 501 naming what isn't there."""
    aliases = endpoint.texts("Aliases")
    if aliases and network in _DEFAULT_NETWORKS:
        raise bad_parameter("network-scoped aliases are only supported for user-defined networks")
    links = [link for link in endpoint.optional_texts("Links") or [] if link]
    if links and network in _DEFAULT_NETWORKS:
        raise not_possible(
            endpoint.name_of("Links"),
            "links on the default network are Docker's legacy; on a network of your own names "
            "and links work",
        )
    # What inspect told of a former endpoint, and compose sends back; the facet decides them anew.
    endpoint.drop("NetworkID", "EndpointID", "DNSNames", *_TOLD)
    addresses = endpoint.child("IPAMConfig")
    attachment = NetworkAttachment(
        network=_network_name(network),
        aliases=aliases,
        ipv4_address=addresses.text("IPv4Address"),
        ipv6_address=addresses.text("IPv6Address"),
        mac_address=endpoint.text("MacAddress"),
        links=map(_link, links),
        gateway_priority=endpoint.number("GwPriority", bits=32),
    )
    addresses.finish()
    endpoint.finish()
    return attachment


def _link(text: str) -> str:
    """Return a link with its alias. Docker's: without one the container's own name is it."""
    target, has_alias, alias = text.removeprefix("/").partition(":")
    return f"{target}:{alias.rpartition('/')[2] if has_alias else target}"
