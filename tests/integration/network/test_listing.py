"""What the kernel has is read whole, and reading it leaves nothing to the garbage collector."""

import gc
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address

import pytest
from pyroute2 import IPRoute

from services.network.drivers.linux.links import Links
from services.network.drivers.linux.listing import Link, LinkAddress, Listing, Route
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.netlink import (
    NLM_F_DUMP_INTR,
    Message,
    Request,
    RequestSocket,
)
from tests.integration.network.conftest import INSTANCE
from tests.integration.network.namespaces import run

MANY = 40
LOOKS = 20
FAMILIES = (socket.AF_INET, socket.AF_INET6)

pytestmark = pytest.mark.parametrize("host", [False], indirect=True)


@pytest.fixture
def listing(host: None) -> Iterator[Listing]:
    """A host with links of several kinds, addresses and routes; and who reads them."""
    for command in (
        "ip link set lo up",
        "ip link add br-mine type bridge",
        "ip link set br-mine up mtu 1400",
        "ip addr add 10.9.0.1/24 dev br-mine",
        "ip addr add fd00:9::1/64 dev br-mine nodad",
        "ip addr add 10.8.0.1 peer 10.8.0.2/32 dev br-mine",
        "ip route add 10.7.0.0/16 via 10.9.0.5",
        "ip route add default via 10.9.0.6",
        "ip route add fd00:7::/48 via fd00:9::5",
        "ip route add unreachable 10.6.0.0/16",
        "ip route add 10.5.0.0/16 dev br-mine table 77",
        *(f"ip tuntap add t{number} mode tap" for number in range(MANY)),
        *(f"ip link set t{number} master br-mine" for number in range(0, MANY, 2)),
        "bridge link set dev t2 isolated on",
    ):
        run(*command.split())
    with closing(Listing()) as listing:
        yield listing


def test_links_addresses_and_routes_are_what_pyroute2_reads(listing: Listing) -> None:
    with IPRoute() as route:
        links = {
            (m["index"], m.get_attr("IFLA_IFNAME"), m.get_attr("IFLA_MASTER") or 0)
            for m in route.get_links()
        }
        addresses = {
            (
                m["index"],
                ip_address(m.get_attr("IFA_LOCAL") or m.get_attr("IFA_ADDRESS")),
                ip_address(m.get_attr("IFA_ADDRESS")),
                m["prefixlen"],
            )
            for family in FAMILIES
            for m in route.get_addr(family=family)
        }
        routes = {
            (m["table"], ip_address(m.get_attr("RTA_DST")), m["dst_len"], m.get_attr("RTA_OIF"))
            for family in FAMILIES
            for m in route.get_routes(family=family)
            if m.get_attr("RTA_DST") is not None
        }
    found = listing.links()
    assert {(link.index, link.name, link.master) for link in found} == links
    assert len(links) > MANY
    bridge = next(link for link in found if link.name == "br-mine")
    assert (bridge.kind, bridge.up, bridge.mtu, bridge.loopback) == ("bridge", True, 1400, False)
    assert next(link for link in found if link.name == "lo").loopback
    isolated = next(link for link in found if link.name == "t2")
    assert (isolated.port, isolated.up) == ((True, 0), False)
    assert [link.port for link in found if link.name in ("t1", "t4")] == [(False, 0)] * 2
    read = {known for family in FAMILIES for known in listing.addresses(family)}
    assert read == {LinkAddress(*known) for known in addresses}
    assert {known for family in FAMILIES for known in listing.routes(family)} == {
        Route(*known) for known in routes
    }
    assert routes


def test_a_link_is_found_by_its_name_or_not(listing: Listing) -> None:
    found = listing.link("t2")
    assert isinstance(found, Link)
    assert found in listing.links()
    assert listing.link("t99") is None
    assert listing.link("br-mine") in listing.links()


def test_a_list_that_changed_while_it_was_read_is_read_again(
    listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = RequestSocket._read
    torn = iter((True, True, False))

    def tear(self: RequestSocket, request: Request, subject: str) -> list[Message]:
        found = read(self, request, subject)
        flags = NLM_F_DUMP_INTR if next(torn) else 0
        return [replace(answer, flags=flags) for answer in found]

    monkeypatch.setattr(RequestSocket, "_read", tear)
    assert any(link.name == "t2" for link in listing.links())
    assert not list(torn)


def test_looking_at_a_host_of_many_links_leaves_nothing_to_the_collector(listing: Listing) -> None:
    links = Links(Names(INSTANCE, 0))
    try:
        links.look()
        gc.collect()
        gc.disable()
        for _ in range(LOOKS):
            links.look()
            links.taken_subnets()
        # Less than an object a link and look: other threads of the tests' process, and what a
        # test before this one left to a finalizer, may add some tens, however often we look.
        assert gc.collect() < MANY * LOOKS
    finally:
        gc.enable()
        links.close()
