"""Networks, endpoints and reservations as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from services.network.drivers import MANAGEMENT_ORDINAL, Level


class Kind(StrEnum):
    """What a network is."""

    BRIDGE = "bridge"
    NONE = "none"
    EXTERNAL = "external"
    """One of the host's surroundings, mapped by an administrator."""


@dataclass(frozen=True)
class Pool:
    """The addresses of a network."""

    subnet: IPv4Network
    gateway: IPv4Address
    ip_range: IPv4Network | None = None
    """Where addresses are taken from, when not from the whole subnet."""
    auxiliary: Mapping[str, IPv4Address] = field(default_factory=dict)
    """Addresses that belong to somebody else, by name."""


@dataclass(frozen=True)
class Pool6:
    """The IPv6 addresses of a network."""

    subnet: IPv6Network
    gateway: IPv6Address
    ip_range: IPv6Network | None = None
    auxiliary: Mapping[str, IPv6Address] = field(default_factory=dict)
    own_subnet: bool = False
    """Whether the network's creator named the subnet."""


@dataclass(frozen=True)
class External:
    """What an administrator says of an external network."""

    parent: str
    """The platform's name of it: an interface of the host that leads there, or a port group."""
    level: Level = Level.PUBLISHED
    resolvers: tuple[IPv4Address | IPv6Address, ...] = ()
    """Its name servers; none: the host's."""
    publishes: bool = False
    """Whether ports of bridge networks are published at the host's address there, where nothing
    else is said."""


@dataclass(frozen=True)
class Network:
    """A network that containers can join, or the management network."""

    id: str
    name: str
    kind: Kind
    ordinal: int | None
    """Number of its segment; the network "none" has none."""
    pool: Pool | None
    created_at: datetime
    internal: bool = False
    attachable: bool = False
    predefined: bool = False
    own_subnet: bool = False
    """Whether its creator named the subnet; only then may addresses be asked for by name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    external: External | None = None
    pool6: Pool6 | None = None

    @property
    def management(self) -> bool:
        """Tell whether it is the network of the tethers."""
        return self.ordinal == MANAGEMENT_ORDINAL


@dataclass(frozen=True)
class LabelRule:
    """A label that a network must have, or must not have."""

    name: str
    value: str | None = None
    """None means any."""
    wanted: bool = True

    @classmethod
    def parse(cls, text: str) -> "LabelRule":
        """Read "name" or "name=value", with "!" before it for what must not be."""
        name, has_value, value = text.removeprefix("!").partition("=")
        return cls(name, value if has_value else None, not text.startswith("!"))

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it holds for a network's labels."""
        has = self.name in labels and self.value in (None, labels[self.name])
        return has is self.wanted


@dataclass(frozen=True)
class Wish:
    """What a container wants in one network."""

    network: str
    """Name, ID or unambiguous prefix of an ID."""
    ipv4: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    gateway_priority: int = 0
    links: tuple[str, ...] = ()
    """Names that the container alone calls others by: "container:alias"."""
    ipv6: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A container's place in a network; in the network "none" it has no port and no address."""

    id: str
    container_id: str
    network_id: str
    port_name: str | None
    mac: str | None
    ipv4: IPv4Address | None
    aliases: tuple[str, ...] = ()
    ipv6: IPv6Address | None = None


@dataclass(frozen=True)
class Reservation:
    """All endpoints of a container: the management one first, then one for each wish."""

    container_id: str
    container_name: str
    hostname: str
    wishes: tuple[Wish, ...]
    endpoints: tuple[Endpoint, ...]
    created_at: datetime
    resolvers: tuple[IPv4Address | IPv6Address, ...] = ()
    """Who is asked for it about names that its networks don't have; empty: the host's."""

    def wish_of(self, endpoint: Endpoint) -> Wish | None:
        """Return what an endpoint was made for; None for the management one."""
        place = next((i for i, known in enumerate(self.endpoints) if known.id == endpoint.id), 0)
        return self.wishes[place - 1] if place else None

    def endpoint_in(self, network_id: str) -> Endpoint | None:
        """Return the endpoint in a network."""
        return next((e for e in self.endpoints if e.network_id == network_id), None)

    def joined(self, wish: Wish, endpoint: Endpoint) -> "Reservation":
        """Return it with one more endpoint."""
        return replace(self, wishes=(*self.wishes, wish), endpoints=(*self.endpoints, endpoint))

    def left(self, network_id: str) -> "Reservation":
        """Return it without the endpoint in a network, and its wish."""
        first, *others = self.endpoints
        kept = [
            (wish, endpoint)
            for wish, endpoint in zip(self.wishes, others, strict=True)
            if endpoint.network_id != network_id
        ]
        return replace(
            self,
            wishes=tuple(wish for wish, _ in kept),
            endpoints=(first, *(endpoint for _, endpoint in kept)),
        )
