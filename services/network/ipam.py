"""Addresses of one subnet: who has which, and which comes next."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from typing import Generic, TypeVar

from portlayer.errors import AlreadyExists, InvalidArgument, Reason, ResourceExhausted

A = TypeVar("A", IPv4Address, IPv6Address)


class AddressPool(Generic[A]):
    """The addresses of a subnet that can be given to containers.

    Addresses go round: the next one given is the first free one after the last one given, so that
    an address that was just released rests for as long as possible (old connections and ARP entries
    of others would hit its next owner). Nothing here waits, so calls from one event loop can't mix.
    """

    def __init__(
        self,
        subnet: IPv4Network | IPv6Network,
        of: Callable[[int], A],
        *,
        ip_range: IPv4Network | IPv6Network | None = None,
        reserved: Iterable[A] = (),
        cursor: A | None = None,
    ) -> None:
        """`of` makes an address of the subnet's kind of its number."""
        self.subnet = subnet
        self._of: Callable[[int], A] = of
        self._reserved = {int(address) for address in reserved}
        # The first one of IPv6 is that of its routers (RFC 4291, 2.6.1); the last one is anybody's.
        self._reserved.add(int(subnet.network_address))
        if subnet.version == 4:
            self._reserved.add(int(subnet.broadcast_address))
        source = subnet if ip_range is None else ip_range
        self._first = int(source.network_address)
        self._last = int(source.broadcast_address)
        self._taken: set[int] = set()
        self._cursor = self._last if cursor is None else int(cursor)

    @property
    def in_use(self) -> int:
        """How many addresses containers have."""
        return len(self._taken)

    @property
    def cursor(self) -> A:
        """The last address that was given without being asked for by name."""
        return self._of(self._cursor)

    def take(self, wanted: A | None = None) -> A:
        """Give an address: the wanted one or the next.

        Raises ResourceExhausted (ADDRESSES_EXHAUSTED), AlreadyExists (ADDRESS_IN_USE) or
        InvalidArgument (INVALID_ADDRESS).
        """
        return self._next() if wanted is None else self._named(wanted)

    def hold(self, address: A) -> None:
        """Note that somebody has an address, whatever the rules say now."""
        self._taken.add(int(address))

    def give_back(self, address: A) -> None:
        """Take an address back. Idempotent."""
        self._taken.discard(int(address))

    def _named(self, wanted: A) -> A:
        if wanted not in self.subnet:
            raise InvalidArgument(
                f"no configured subnet or ip-range contain the IP address {wanted}",
                Reason.INVALID_ADDRESS,
            )
        number = int(wanted)
        if number in self._taken or number in self._reserved:
            raise AlreadyExists("Address already in use", Reason.ADDRESS_IN_USE)
        self._taken.add(number)
        return wanted

    def _next(self) -> A:
        after = self._cursor + 1 if self._first <= self._cursor < self._last else self._first
        for number in chain(range(after, self._last + 1), range(self._first, after)):
            if number not in self._taken and number not in self._reserved:
                self._taken.add(number)
                self._cursor = number
                return self._of(number)
        raise ResourceExhausted(
            f"no available IPv{self.subnet.version} addresses on this network's address pools: "
            f"{self.subnet}",
            Reason.ADDRESSES_EXHAUSTED,
            subnet=str(self.subnet),
        )


def mac_of(address: IPv4Address) -> str:
    """Return the MAC address that goes with an address, as Docker derives it.

    Unique in a segment, locally administered, and the same after every restart:
    172.17.0.2 has 02:42:ac:11:00:02.
    """
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed)


def parse_mac(text: str) -> str:
    """Return a wanted MAC address in lower case with colons.

    Raises InvalidArgument (INVALID_ADDRESS) when it isn't one, or is a group's.
    """
    parts = text.replace("-", ":").lower().split(":")
    try:
        octets = bytes(int(part, 16) for part in parts if len(part) == 2)
    except ValueError:
        octets = b""
    if len(octets) != 6 or len(parts) != 6:
        raise InvalidArgument(f"invalid MAC address: {text}", Reason.INVALID_ADDRESS)
    if octets[0] & 1 or not any(octets):
        raise InvalidArgument(
            f"invalid MAC address: {text} does not name a single station", Reason.INVALID_ADDRESS
        )
    return octets.hex(":")


def parse_ipv4(text: str) -> IPv4Address:
    """Return a wanted IPv4 address. Raises InvalidArgument (INVALID_ADDRESS)."""
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid IPv4 address: {text}", Reason.INVALID_ADDRESS) from error


def parse_ipv6(text: str) -> IPv6Address:
    """Return a wanted IPv6 address. Raises InvalidArgument (INVALID_ADDRESS)."""
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid IPv6 address: {text}", Reason.INVALID_ADDRESS) from error
    if address.scope_id is not None:
        raise InvalidArgument(f"invalid IPv6 address: {text}", Reason.INVALID_ADDRESS)
    return address
