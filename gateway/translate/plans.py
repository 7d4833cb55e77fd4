"""What is asked of networks: the body of a create request, and the filters of prune."""

import secrets

from vic.network.v1.network_pb2 import AddressPool, CreateRequest, NetworkKind

from gateway.errors import ApiError, bad_parameter, not_implemented
from gateway.fields import Fields
from gateway.translate.filters import Filters

PRUNE_FILTERS = frozenset({"label", "label!", "until"})

_SINGLE = ("host", "null")


def read_network(body: object) -> CreateRequest:
    """Return what a create request's body asks for.

    Raises 400 for what can't be right, 403 for a second "host" or "none", 501 naming an option that
    isn't implemented.
    """
    fields = Fields(body)
    name = fields.text("Name")
    # Docker's own check before it asks any driver.
    if not name.strip():
        raise bad_parameter("invalid network name: name is empty")
    _check_driver(fields.text("Driver"))
    # A name is taken once, whether that is asked for or not.
    fields.drop("CheckDuplicate")
    fields.accept("Scope", "local")
    if fields.raw("EnableIPv4") is False:
        raise not_implemented("EnableIPv4=false")
    fields.accept("ConfigFrom", {"Network": ""})
    request = CreateRequest(
        # Ours to choose, so that a request that gRPC repeats makes one network.
        network_id=secrets.token_hex(32),
        name=name,
        kind=NetworkKind.NETWORK_KIND_BRIDGE,
        pools=_pools(fields.child("IPAM")),
        internal=fields.flag("Internal"),
        attachable=fields.flag("Attachable"),
        enable_ipv6=fields.flag("EnableIPv6"),
        labels=fields.text_mapping("Labels"),
        options=fields.text_mapping("Options"),
    )
    fields.finish()
    return request


def label_filters(filters: Filters) -> list[str]:
    """Return the label filters of a prune request as the network facet reads them."""
    return [*sorted(filters.get("label")), *(f"!{text}" for text in sorted(filters.get("label!")))]


def _check_driver(driver: str) -> None:
    if driver in _SINGLE:
        raise ApiError(403, f'only one instance of "{driver}" network is allowed')
    if driver not in ("", "bridge", "default"):
        raise not_implemented(f"network driver {driver!r}")


def _pools(fields: Fields) -> list[AddressPool]:
    fields.accept("Driver", "default")
    configs = fields.raw("Config") or []
    if not isinstance(configs, list):
        raise bad_parameter("invalid JSON: IPAM.Config must be an array")
    fields.finish()
    return [_pool(Fields(config, "IPAM.Config")) for config in configs if config]


def _pool(fields: Fields) -> AddressPool:
    pool = AddressPool(
        subnet=fields.text("Subnet"),
        gateway=fields.text("Gateway"),
        ip_range=fields.text("IPRange"),
        auxiliary_addresses=fields.text_mapping("AuxiliaryAddresses"),
    )
    fields.finish()
    return pool
