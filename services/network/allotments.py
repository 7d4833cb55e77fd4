"""What endpoints are given: addresses, MAC addresses and names, none of them twice."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address

from portlayer.errors import AlreadyExists, InvalidArgument, Reason
from services.network.drivers import Driver
from services.network.ipam import mac_of, parse_ipv4, parse_ipv6, parse_mac
from services.network.model import Endpoint, Kind, Network, Wish
from services.network.networks import Networks
from services.network.wishes import check_cards, check_none, check_wish, saying


class Allotments:
    """Who has which names and MAC addresses; of addresses the networks know it.

    Nothing here waits, so calls from one event loop can't mix.
    """

    def __init__(self, networks: Networks, driver: Driver) -> None:
        self._networks = networks
        self._driver = driver
        self._port_names: set[str] = set()
        self._macs: set[tuple[str, str]] = set()

    def hold_addresses(self, endpoint: Endpoint) -> None:
        """Note that an endpoint has its addresses, as the database says."""
        network = self._networks.get(endpoint.network_id)
        if endpoint.ipv4 is not None:
            pool = self._networks.addresses(network)
            assert pool is not None
            pool.hold(endpoint.ipv4)
        if endpoint.ipv6 is not None:
            pool6 = self._networks.addresses6(network)
            assert pool6 is not None
            pool6.hold(endpoint.ipv6)

    def keep(self, endpoint: Endpoint) -> None:
        """Note that an endpoint has its name and its MAC address."""
        if endpoint.port_name is not None:
            self._port_names.add(endpoint.port_name)
        if endpoint.mac is not None:
            self._macs.add((endpoint.network_id, endpoint.mac))

    def forget(self, endpoint: Endpoint) -> None:
        """Note that it has them no more."""
        if endpoint.port_name is not None:
            self._port_names.discard(endpoint.port_name)
        if endpoint.mac is not None:
            self._macs.discard((endpoint.network_id, endpoint.mac))

    def give_back(self, endpoint: Endpoint) -> None:
        """Take the addresses of an endpoint that is gone back."""
        network = self._networks.get(endpoint.network_id)
        pool = self._networks.addresses(network)
        if pool is not None and endpoint.ipv4 is not None:
            pool.give_back(endpoint.ipv4)
        pool6 = self._networks.addresses6(network)
        if pool6 is not None and endpoint.ipv6 is not None:
            pool6.give_back(endpoint.ipv6)

    def all(
        self, container_id: str, wishes: Sequence[Wish], undo: ExitStack
    ) -> tuple[Endpoint, ...]:
        """Take names and addresses for all endpoints; `undo` gives them back."""
        networks = [self._networks.find(wish.network) for wish in wishes]
        if len({network.id for network in networks}) != len(networks):
            raise InvalidArgument("a container joins each network once", Reason.INVALID_NETWORK)
        pairs = [(self._networks.management(), Wish("")), *zip(networks, wishes, strict=True)]
        endpoints = []
        for network, wish in pairs:
            with saying(f"invalid config for network {network.name}: invalid endpoint settings:\n"):
                endpoints.append(self.one(container_id, network, wish, undo))
        check_cards(endpoints)
        return tuple(endpoints)

    def one(self, container_id: str, network: Network, wish: Wish, undo: ExitStack) -> Endpoint:
        """Take name, MAC address and addresses for an endpoint; `undo` gives them back.

        Raises InvalidArgument (INVALID_ADDRESS, INVALID_NETWORK), AlreadyExists (ADDRESS_IN_USE)
        and ResourceExhausted (ADDRESSES_EXHAUSTED).
        """
        if network.kind is Kind.NONE:
            check_none(wish)
            return Endpoint(secrets.token_hex(32), container_id, network.id, None, None, None)
        check_wish(network, wish)
        pool = self._networks.addresses(network)
        assert pool is not None
        address = pool.take(parse_ipv4(wish.ipv4) if wish.ipv4 else None)
        undo.callback(pool.give_back, address)
        address6 = self._take6(network, wish, undo)
        mac = self._take_mac(network, parse_mac(wish.mac) if wish.mac else mac_of(address))
        undo.callback(self._macs.discard, (network.id, mac))
        endpoint_id, port_name = self._take_names()
        undo.callback(self._port_names.discard, port_name)
        return Endpoint(
            *(endpoint_id, container_id, network.id, port_name, mac, address, wish.aliases),
            ipv6=address6,
        )

    def _take6(self, network: Network, wish: Wish, undo: ExitStack) -> IPv6Address | None:
        pool = self._networks.addresses6(network)
        if pool is None:
            return None
        address = pool.take(parse_ipv6(wish.ipv6) if wish.ipv6 else None)
        undo.callback(pool.give_back, address)
        return address

    def _take_mac(self, network: Network, mac: str) -> str:
        assert network.pool is not None
        if (network.id, mac) in self._macs or mac == mac_of(network.pool.gateway):
            raise AlreadyExists(f"MAC address {mac} is already in use", Reason.ADDRESS_IN_USE)
        self._macs.add((network.id, mac))
        return mac

    def _take_names(self) -> tuple[str, str]:
        while True:
            endpoint_id = secrets.token_hex(32)
            name = self._driver.port_name(endpoint_id)
            if name not in self._port_names:
                self._port_names.add(name)
                return endpoint_id, name

    def cursors(self, endpoints: Sequence[Endpoint]) -> Mapping[str, IPv4Address]:
        """Return where networks' addresses have got to, which is to be recorded."""
        found = {}
        for endpoint in endpoints:
            pool = self._networks.addresses(self._networks.get(endpoint.network_id))
            if pool is not None:
                found[endpoint.network_id] = pool.cursor
        return found
