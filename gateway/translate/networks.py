"""Networks and endpoints in Docker's shape."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1.container_pb2 import Container, ContainerEndpoint, NetworkAttachment
from vic.network.v1.network_pb2 import AddressPool, Endpoint, FirewallLevel, Network, NetworkKind

from gateway.translate.filters import Filters
from gateway.translate.times import nanoseconds, rfc3339

_NOTHING_ASKED = NetworkAttachment()

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})

_DRIVERS = {
    NetworkKind.NETWORK_KIND_BRIDGE: "bridge",
    NetworkKind.NETWORK_KIND_NONE: "null",
    # As the documents show them: of the same driver, and another scope.
    NetworkKind.NETWORK_KIND_EXTERNAL: "bridge",
}


def network_json(network: Network, names: Mapping[str, str]) -> dict[str, Any]:
    """A network as ``GET /networks/{id}`` gives it; ``names`` are the containers' by ID."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created_at),
        "Scope": scope_of(network),
        "Driver": driver_of(network),
        "EnableIPv4": True,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [_pool(pool) for pool in network.pools] or None,
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        # Those that run, as with dockerd.
        "Containers": {
            endpoint.container_id: _member(endpoint, names)
            for endpoint in network.endpoints
            if endpoint.bound
        },
        "Options": {**network.options, **_mapping(network)},
        "Labels": dict(network.labels),
    }


def driver_of(network: Network) -> str:
    """Docker's name of the driver."""
    return _DRIVERS.get(network.kind, "bridge")


def scope_of(network: Network) -> str:
    """Docker's "local" for what this instance made, else "external"."""
    return "external" if network.kind == NetworkKind.NETWORK_KIND_EXTERNAL else "local"


def select(networks: Iterable[Network], filters: Filters) -> list[Network]:
    """The networks that fit. "dangling" holds for those without endpoints."""
    chosen = []
    for network in networks:
        kind = "builtin" if network.predefined else "custom"
        if not (
            filters.pattern("name", network.name)
            and filters.prefix("id", network.id)
            and filters.exact("driver", driver_of(network))
            and filters.exact("scope", scope_of(network))
            and filters.exact("type", kind)
            and filters.labels(network.labels)
        ):
            continue
        dangling = not network.endpoints and not network.predefined
        if "dangling" in filters and filters.flag("dangling") != dangling:
            continue
        chosen.append(network)
    return chosen


def prunable(
    networks: Iterable[Network], filters: Filters, until: Timestamp | None
) -> list[Network]:
    """The networks that prune would take if nobody ran in them, as the network facet sees it."""
    return [
        network
        for network in networks
        if not (network.predefined or network.HasField("external"))
        and (until is None or nanoseconds(network.created_at) < nanoseconds(until))
        and filters.labels(network.labels)
        and filters.no_labels(network.labels)
    ]


def endpoint_settings(
    endpoint: ContainerEndpoint, container: Container, *, in_use: bool
) -> dict[str, Any]:
    """One of a container's networks, as inspect gives it; its addresses are shown while in use."""
    asked, aliases = _asked(endpoint, container), list(endpoint.aliases)
    settings: dict[str, Any] = {
        "IPAMConfig": _asked_addresses(asked) or None,
        "Links": list(asked.links) or None,
        "Aliases": aliases or None,
        # Which one it will be is known while it doesn't run, where it was wished for.
        "MacAddress": asked.mac_address.lower(),
        "DriverOpts": None,
        "GwPriority": asked.gateway_priority,
        "NetworkID": endpoint.network_id,
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }
    if endpoint.network_name not in ("bridge", "none", ""):
        names = [container.spec.name, *aliases, container.id[:12], container.spec.hostname]
        settings["DNSNames"] = list(dict.fromkeys(filter(None, names)))
    if in_use:
        if endpoint.mac_address:
            settings["MacAddress"] = endpoint.mac_address.lower()
        settings["EndpointID"] = endpoint.endpoint_id
        settings["Gateway"] = endpoint.ipv4_gateway
        settings["IPAddress"] = endpoint.ipv4_address.partition("/")[0]
        settings["IPPrefixLen"] = endpoint.ipv4_prefix_length
        settings["IPv6Gateway"] = endpoint.ipv6_gateway
        settings["GlobalIPv6Address"] = endpoint.ipv6_address
        settings["GlobalIPv6PrefixLen"] = endpoint.ipv6_prefix_length
    return settings


def _asked_addresses(asked: NetworkAttachment) -> dict[str, str]:
    found = {"IPv4Address": asked.ipv4_address, "IPv6Address": asked.ipv6_address}
    return {name: address for name, address in found.items() if address}


def _asked(endpoint: ContainerEndpoint, container: Container) -> NetworkAttachment:
    """What was asked for when an endpoint was made."""
    for attachment in container.spec.networks:
        if attachment.network and (
            attachment.network == endpoint.network_name
            or endpoint.network_id.startswith(attachment.network)
        ):
            return attachment
    return _NOTHING_ASKED


def _mapping(network: Network) -> dict[str, str]:
    """What an administrator said of an external network, as macvlan networks show their parent."""
    if not network.HasField("external"):
        return {}
    level = FirewallLevel.Name(network.external.firewall).removeprefix("FIREWALL_LEVEL_").lower()
    return {"parent": network.external.parent, "firewall": level}


def _pool(pool: AddressPool) -> dict[str, Any]:
    config: dict[str, Any] = {"Subnet": pool.subnet}
    if pool.ip_range:
        config["IPRange"] = pool.ip_range
    if pool.gateway:
        config["Gateway"] = pool.gateway
    if pool.auxiliary_addresses:
        config["AuxiliaryAddresses"] = dict(pool.auxiliary_addresses)
    return config


def _member(endpoint: Endpoint, names: Mapping[str, str]) -> dict[str, str]:
    ipv4, ipv6 = endpoint.ipv4_address, endpoint.ipv6_address
    return {
        "Name": names.get(endpoint.container_id, ""),
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac_address.lower(),
        "IPv4Address": f"{ipv4}/{endpoint.ipv4_prefix_length}" if ipv4 else "",
        "IPv6Address": f"{ipv6}/{endpoint.ipv6_prefix_length}" if ipv6 else "",
    }
