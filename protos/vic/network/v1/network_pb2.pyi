import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NetworkKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NETWORK_KIND_UNSPECIFIED: _ClassVar[NetworkKind]
    NETWORK_KIND_BRIDGE: _ClassVar[NetworkKind]
    NETWORK_KIND_NONE: _ClassVar[NetworkKind]
    NETWORK_KIND_EXTERNAL: _ClassVar[NetworkKind]

class FirewallLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIREWALL_LEVEL_UNSPECIFIED: _ClassVar[FirewallLevel]
    FIREWALL_LEVEL_CLOSED: _ClassVar[FirewallLevel]
    FIREWALL_LEVEL_OUTBOUND: _ClassVar[FirewallLevel]
    FIREWALL_LEVEL_PEERS: _ClassVar[FirewallLevel]
    FIREWALL_LEVEL_PUBLISHED: _ClassVar[FirewallLevel]
    FIREWALL_LEVEL_OPEN: _ClassVar[FirewallLevel]

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_TCP: _ClassVar[Protocol]
    PROTOCOL_UDP: _ClassVar[Protocol]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_CREATE: _ClassVar[EventKind]
    EVENT_KIND_DESTROY: _ClassVar[EventKind]
    EVENT_KIND_CONNECT: _ClassVar[EventKind]
    EVENT_KIND_DISCONNECT: _ClassVar[EventKind]
    EVENT_KIND_PRUNE: _ClassVar[EventKind]
NETWORK_KIND_UNSPECIFIED: NetworkKind
NETWORK_KIND_BRIDGE: NetworkKind
NETWORK_KIND_NONE: NetworkKind
NETWORK_KIND_EXTERNAL: NetworkKind
FIREWALL_LEVEL_UNSPECIFIED: FirewallLevel
FIREWALL_LEVEL_CLOSED: FirewallLevel
FIREWALL_LEVEL_OUTBOUND: FirewallLevel
FIREWALL_LEVEL_PEERS: FirewallLevel
FIREWALL_LEVEL_PUBLISHED: FirewallLevel
FIREWALL_LEVEL_OPEN: FirewallLevel
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_TCP: Protocol
PROTOCOL_UDP: Protocol
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_CREATE: EventKind
EVENT_KIND_DESTROY: EventKind
EVENT_KIND_CONNECT: EventKind
EVENT_KIND_DISCONNECT: EventKind
EVENT_KIND_PRUNE: EventKind

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("driver", "management_address", "management_prefix_length", "tether_port", "default_network")
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    TETHER_PORT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_NETWORK_FIELD_NUMBER: _ClassVar[int]
    driver: str
    management_address: str
    management_prefix_length: int
    tether_port: int
    default_network: str
    def __init__(self, driver: _Optional[str] = ..., management_address: _Optional[str] = ..., management_prefix_length: _Optional[int] = ..., tether_port: _Optional[int] = ..., default_network: _Optional[str] = ...) -> None: ...

class AddressPool(_message.Message):
    __slots__ = ("subnet", "gateway", "ip_range", "auxiliary_addresses")
    class AuxiliaryAddressesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SUBNET_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    IP_RANGE_FIELD_NUMBER: _ClassVar[int]
    AUXILIARY_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    subnet: str
    gateway: str
    ip_range: str
    auxiliary_addresses: _containers.ScalarMap[str, str]
    def __init__(self, subnet: _Optional[str] = ..., gateway: _Optional[str] = ..., ip_range: _Optional[str] = ..., auxiliary_addresses: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("id", "name", "kind", "pools", "internal", "attachable", "enable_ipv6", "labels", "options", "created_at", "endpoints", "predefined", "outside_aliases", "external")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_FIELD_NUMBER: _ClassVar[int]
    ATTACHABLE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_IPV6_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    PREDEFINED_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_ALIASES_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    kind: NetworkKind
    pools: _containers.RepeatedCompositeFieldContainer[AddressPool]
    internal: bool
    attachable: bool
    enable_ipv6: bool
    labels: _containers.ScalarMap[str, str]
    options: _containers.ScalarMap[str, str]
    created_at: _timestamp_pb2.Timestamp
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    predefined: bool
    outside_aliases: _containers.RepeatedCompositeFieldContainer[OutsideAlias]
    external: External
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[NetworkKind, str]] = ..., pools: _Optional[_Iterable[_Union[AddressPool, _Mapping]]] = ..., internal: _Optional[bool] = ..., attachable: _Optional[bool] = ..., enable_ipv6: _Optional[bool] = ..., labels: _Optional[_Mapping[str, str]] = ..., options: _Optional[_Mapping[str, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., predefined: _Optional[bool] = ..., outside_aliases: _Optional[_Iterable[_Union[OutsideAlias, _Mapping]]] = ..., external: _Optional[_Union[External, _Mapping]] = ...) -> None: ...

class External(_message.Message):
    __slots__ = ("parent", "firewall", "dns_servers", "publishes")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FIREWALL_FIELD_NUMBER: _ClassVar[int]
    DNS_SERVERS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHES_FIELD_NUMBER: _ClassVar[int]
    parent: str
    firewall: FirewallLevel
    dns_servers: _containers.RepeatedScalarFieldContainer[str]
    publishes: bool
    def __init__(self, parent: _Optional[str] = ..., firewall: _Optional[_Union[FirewallLevel, str]] = ..., dns_servers: _Optional[_Iterable[str]] = ..., publishes: _Optional[bool] = ...) -> None: ...

class OutsideAlias(_message.Message):
    __slots__ = ("name", "address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("id", "container_id", "network_id", "network_name", "management", "mac_address", "ipv4_address", "ipv4_prefix_length", "ipv4_gateway", "ipv6_address", "ipv6_prefix_length", "ipv6_gateway", "mtu", "tap_name", "aliases", "dns_servers", "dns_search", "dns_options", "bound", "port_group", "own_name_server", "external", "default_route", "default_route6")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_NAME_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV4_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV4_PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    IPV4_GATEWAY_FIELD_NUMBER: _ClassVar[int]
    IPV6_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV6_PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    IPV6_GATEWAY_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    TAP_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    DNS_SERVERS_FIELD_NUMBER: _ClassVar[int]
    DNS_SEARCH_FIELD_NUMBER: _ClassVar[int]
    DNS_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    PORT_GROUP_FIELD_NUMBER: _ClassVar[int]
    OWN_NAME_SERVER_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ROUTE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ROUTE6_FIELD_NUMBER: _ClassVar[int]
    id: str
    container_id: str
    network_id: str
    network_name: str
    management: bool
    mac_address: str
    ipv4_address: str
    ipv4_prefix_length: int
    ipv4_gateway: str
    ipv6_address: str
    ipv6_prefix_length: int
    ipv6_gateway: str
    mtu: int
    tap_name: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    dns_servers: _containers.RepeatedScalarFieldContainer[str]
    dns_search: _containers.RepeatedScalarFieldContainer[str]
    dns_options: _containers.RepeatedScalarFieldContainer[str]
    bound: bool
    port_group: str
    own_name_server: bool
    external: bool
    default_route: bool
    default_route6: bool
    def __init__(self, id: _Optional[str] = ..., container_id: _Optional[str] = ..., network_id: _Optional[str] = ..., network_name: _Optional[str] = ..., management: _Optional[bool] = ..., mac_address: _Optional[str] = ..., ipv4_address: _Optional[str] = ..., ipv4_prefix_length: _Optional[int] = ..., ipv4_gateway: _Optional[str] = ..., ipv6_address: _Optional[str] = ..., ipv6_prefix_length: _Optional[int] = ..., ipv6_gateway: _Optional[str] = ..., mtu: _Optional[int] = ..., tap_name: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., dns_servers: _Optional[_Iterable[str]] = ..., dns_search: _Optional[_Iterable[str]] = ..., dns_options: _Optional[_Iterable[str]] = ..., bound: _Optional[bool] = ..., port_group: _Optional[str] = ..., own_name_server: _Optional[bool] = ..., external: _Optional[bool] = ..., default_route: _Optional[bool] = ..., default_route6: _Optional[bool] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("network_id", "name", "kind", "pools", "internal", "attachable", "enable_ipv6", "labels", "options", "external")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_FIELD_NUMBER: _ClassVar[int]
    ATTACHABLE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_IPV6_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    network_id: str
    name: str
    kind: NetworkKind
    pools: _containers.RepeatedCompositeFieldContainer[AddressPool]
    internal: bool
    attachable: bool
    enable_ipv6: bool
    labels: _containers.ScalarMap[str, str]
    options: _containers.ScalarMap[str, str]
    external: External
    def __init__(self, network_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[NetworkKind, str]] = ..., pools: _Optional[_Iterable[_Union[AddressPool, _Mapping]]] = ..., internal: _Optional[bool] = ..., attachable: _Optional[bool] = ..., enable_ipv6: _Optional[bool] = ..., labels: _Optional[_Mapping[str, str]] = ..., options: _Optional[_Mapping[str, str]] = ..., external: _Optional[_Union[External, _Mapping]] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("network", "warnings")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    network: Network
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, network: _Optional[_Union[Network, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("network",)
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    network: Network
    def __init__(self, network: _Optional[_Union[Network, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("with_endpoints",)
    WITH_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    with_endpoints: bool
    def __init__(self, with_endpoints: _Optional[bool] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("networks",)
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    networks: _containers.RepeatedCompositeFieldContainer[Network]
    def __init__(self, networks: _Optional[_Iterable[_Union[Network, _Mapping]]] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("reference", "external")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    reference: str
    external: bool
    def __init__(self, reference: _Optional[str] = ..., external: _Optional[bool] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PruneRequest(_message.Message):
    __slots__ = ("until", "label_filters")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FILTERS_FIELD_NUMBER: _ClassVar[int]
    until: _timestamp_pb2.Timestamp
    label_filters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., label_filters: _Optional[_Iterable[str]] = ...) -> None: ...

class PruneResponse(_message.Message):
    __slots__ = ("removed_names",)
    REMOVED_NAMES_FIELD_NUMBER: _ClassVar[int]
    removed_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, removed_names: _Optional[_Iterable[str]] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("container_id", "endpoints", "container_name", "hostname", "dns_servers")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_NAME_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    DNS_SERVERS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    endpoints: _containers.RepeatedCompositeFieldContainer[EndpointRequest]
    container_name: str
    hostname: str
    dns_servers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container_id: _Optional[str] = ..., endpoints: _Optional[_Iterable[_Union[EndpointRequest, _Mapping]]] = ..., container_name: _Optional[str] = ..., hostname: _Optional[str] = ..., dns_servers: _Optional[_Iterable[str]] = ...) -> None: ...

class EndpointRequest(_message.Message):
    __slots__ = ("network", "ipv4_address", "ipv6_address", "mac_address", "aliases", "gateway_priority", "links")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    IPV4_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IPV6_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MAC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    network: str
    ipv4_address: str
    ipv6_address: str
    mac_address: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    gateway_priority: int
    links: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, network: _Optional[str] = ..., ipv4_address: _Optional[str] = ..., ipv6_address: _Optional[str] = ..., mac_address: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., gateway_priority: _Optional[int] = ..., links: _Optional[_Iterable[str]] = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class GetReservationRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class GetReservationResponse(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class ListReservationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReservationsResponse(_message.Message):
    __slots__ = ("container_ids",)
    CONTAINER_IDS_FIELD_NUMBER: _ClassVar[int]
    container_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BindRequest(_message.Message):
    __slots__ = ("container_id", "management_only", "management_of")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_ONLY_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_OF_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    management_only: bool
    management_of: str
    def __init__(self, container_id: _Optional[str] = ..., management_only: _Optional[bool] = ..., management_of: _Optional[str] = ...) -> None: ...

class BindResponse(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class UnbindRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class UnbindResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RenameRequest(_message.Message):
    __slots__ = ("container_id", "container_name")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_NAME_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    container_name: str
    def __init__(self, container_id: _Optional[str] = ..., container_name: _Optional[str] = ...) -> None: ...

class RenameResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("container_id", "endpoint")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    endpoint: EndpointRequest
    def __init__(self, container_id: _Optional[str] = ..., endpoint: _Optional[_Union[EndpointRequest, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("endpoint", "endpoints")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoint: Endpoint
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class DisconnectRequest(_message.Message):
    __slots__ = ("container_id", "network")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    network: str
    def __init__(self, container_id: _Optional[str] = ..., network: _Optional[str] = ...) -> None: ...

class DisconnectResponse(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ...) -> None: ...

class PublishedPort(_message.Message):
    __slots__ = ("container_port", "protocol", "host_address", "host_port_start", "host_port_end", "host_port")
    CONTAINER_PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HOST_PORT_START_FIELD_NUMBER: _ClassVar[int]
    HOST_PORT_END_FIELD_NUMBER: _ClassVar[int]
    HOST_PORT_FIELD_NUMBER: _ClassVar[int]
    container_port: int
    protocol: Protocol
    host_address: str
    host_port_start: int
    host_port_end: int
    host_port: int
    def __init__(self, container_port: _Optional[int] = ..., protocol: _Optional[_Union[Protocol, str]] = ..., host_address: _Optional[str] = ..., host_port_start: _Optional[int] = ..., host_port_end: _Optional[int] = ..., host_port: _Optional[int] = ...) -> None: ...

class ExposedPort(_message.Message):
    __slots__ = ("port", "protocol")
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    port: int
    protocol: Protocol
    def __init__(self, port: _Optional[int] = ..., protocol: _Optional[_Union[Protocol, str]] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("container_id", "ports", "exposed")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    ports: _containers.RepeatedCompositeFieldContainer[PublishedPort]
    exposed: _containers.RepeatedCompositeFieldContainer[ExposedPort]
    def __init__(self, container_id: _Optional[str] = ..., ports: _Optional[_Iterable[_Union[PublishedPort, _Mapping]]] = ..., exposed: _Optional[_Iterable[_Union[ExposedPort, _Mapping]]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("ports",)
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ports: _containers.RepeatedCompositeFieldContainer[PublishedPort]
    def __init__(self, ports: _Optional[_Iterable[_Union[PublishedPort, _Mapping]]] = ...) -> None: ...

class UnpublishRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class UnpublishResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResolveRequest(_message.Message):
    __slots__ = ("network", "name")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    network: str
    name: str
    def __init__(self, network: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ResolveResponse(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class SetOutsideAliasRequest(_message.Message):
    __slots__ = ("network", "name", "address")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    network: str
    name: str
    address: str
    def __init__(self, network: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class SetOutsideAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveOutsideAliasRequest(_message.Message):
    __slots__ = ("network", "name")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    network: str
    name: str
    def __init__(self, network: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RemoveOutsideAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "time", "kind", "network_id", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NETWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: EventKind
    network_id: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[EventKind, str]] = ..., network_id: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after_sequence", "since", "until")
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, after_sequence: _Optional[int] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event", "started")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    event: Event
    started: WatchEventsStarted
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., started: _Optional[_Union[WatchEventsStarted, _Mapping]] = ...) -> None: ...

class WatchEventsStarted(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...
