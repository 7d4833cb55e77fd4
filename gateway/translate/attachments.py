"""Networks that a container is to be in, as create and connect ask for them."""

from vic.exec.v1.container_pb2 import NetworkAttachment

from gateway.errors import bad_parameter, not_possible
from gateway.fields import Fields

_DEFAULT_NETWORKS = ("default", "bridge")
_NO_NETWORK = "none"
# What dockerd fills in by itself, and ignores where it is sent.
_TOLD = (
    *("Gateway", "IPAddress", "IPPrefixLen"),
    *("IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen"),
)


def read_attachments(
    fields: Fields, mode: str, version: tuple[int, int]
) -> list[NetworkAttachment]:
    """Return the networks to join, the one of the network mode first."""
    endpoints = fields.mapping("EndpointsConfig")
    fields.finish()
    if len(endpoints) > 1 and version < (1, 44):
        raise bad_parameter(
            "Container cannot be created with multiple network endpoints: " + ", ".join(endpoints)
        )
    attachments = [
        read_attachment(network, Fields(settings, f"NetworkingConfig.EndpointsConfig.{network}"))
        for network, settings in endpoints.items()
    ]
    main = _network_name(mode)
    others = [attachment for attachment in attachments if attachment.network != main]
    if others and main == _NO_NETWORK:
        raise bad_parameter(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
    asked = next((a for a in attachments if a.network == main), NetworkAttachment(network=main))
    if not others and asked == NetworkAttachment(network=main):
        # What the network mode says already.
        return []
    return [asked, *others]


def place_mac_address(mac: str, attachments: list[NetworkAttachment], mode: str) -> None:
    """Give the main network the MAC address that clients before 1.44 ask for container-wide."""
    if not mac:
        return
    if not attachments:
        attachments.append(NetworkAttachment(network=_network_name(mode)))
    if attachments[0].mac_address not in ("", mac):
        raise bad_parameter(
            "the container-wide MAC address must match the endpoint-specific MAC address for the "
            "main network, or be left empty"
        )
    attachments[0].mac_address = mac


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
        mac_address=endpoint.text("MacAddress"),
        links=map(_link, links),
        gateway_priority=endpoint.number("GwPriority"),
    )
    addresses.finish()
    endpoint.finish()
    return attachment


def _link(text: str) -> str:
    """Return a link with its alias. Docker's: without one the container's own name is it."""
    target, has_alias, alias = text.removeprefix("/").partition(":")
    return f"{target}:{alias.rpartition('/')[2] if has_alias else target}"
