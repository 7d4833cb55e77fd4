"""Published ports: which are given, refused, kept and freed."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotImplementedYet,
    Reason,
    Unavailable,
)
from services.network.drivers import Transport
from services.network.external import PortWish
from services.network.holds import free_ports as given_ports
from services.network.model import Wish
from services.network.plans import Plan
from tests.ports import free_port, free_ports
from tests.unit.network.conftest import Facet, Runs

LOOPBACK = IPv4Address("127.0.0.1")
ANYWHERE = IPv4Address(0)


def tcp(
    port: int, first: int = 0, last: int = 0, at: IPv4Address | IPv6Address | None = None
) -> PortWish:
    """Return the wish for a TCP port."""
    return PortWish(Transport.TCP, port, at, first, last or first)


async def reserve(facet: Facet, *container_ids: str) -> None:
    """Give containers their places on the default network, under names like their IDs."""
    for container_id in container_ids:
        await facet.endpoints.reserve(container_id, container_id, "", [Wish("bridge")])


async def test_a_port_leads_to_the_container_until_it_is_given_back(facet: Facet) -> None:
    await reserve(facet, "c1")
    port = free_port()
    (forward,) = await facet.publications.publish("c1", [tcp(80, port)])
    assert (forward.host_address, forward.host_port) == (ANYWHERE, port)
    assert (str(forward.address), forward.port) == ("172.17.0.2", 80)
    assert facet.platform.forwards == {forward}
    # A repeated call finds it as it is.
    assert await facet.publications.publish("c1", [tcp(80, port)]) == (forward,)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("0.0.0.0", port))
    await facet.publications.unpublish("c1")
    await facet.publications.unpublish("c1")
    assert facet.platform.forwards == set()
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))


async def test_a_port_is_published_once(facet: Facet) -> None:
    await reserve(facet, "c1", "c2")
    port, second = free_ports(2)
    await facet.publications.publish("c1", [tcp(80, port)])
    for address in (None, LOOPBACK):
        with pytest.raises(AlreadyExists) as refusal:
            await facet.publications.publish("c2", [tcp(80, second), tcp(81, port, at=address)])
        assert refusal.value.reason is Reason.PORT_IN_USE
        assert "driver failed programming external connectivity on endpoint c2 (" in str(
            refusal.value
        )
        assert f"Bind for {address or ANYWHERE}:{port} failed: port is already allocated" in str(
            refusal.value
        )
    assert len(facet.platform.forwards) == 1
    # TCP and UDP have ports of their own; and what was refused was given back.
    await facet.publications.publish("c2", [PortWish(Transport.UDP, 53, None, port, port)])
    await facet.publications.unpublish("c1")
    await reserve(facet, "c3")
    await facet.publications.publish("c3", [tcp(80, port), tcp(81, second)])
    # The former owner's end does not take it from the present one.
    await facet.publications.unpublish("c1")
    assert len(facet.platform.forwards) == 3


async def test_a_port_of_another_program_is_refused(facet: Facet) -> None:
    await reserve(facet, "c1")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AlreadyExists, match="address already in use") as refusal:
            await facet.publications.publish("c1", [tcp(80, port)])
        assert refusal.value.reason is Reason.PORT_IN_USE
    assert facet.platform.forwards == set()
    await facet.publications.publish("c1", [tcp(80, port)])


async def test_an_address_that_the_host_has_not_is_refused(facet: Facet) -> None:
    await reserve(facet, "c1")
    with pytest.raises(FailedPrecondition) as refusal:
        await facet.publications.publish("c1", [tcp(80, 8080, at=IPv4Address("192.0.2.1"))])
    assert refusal.value.reason is Reason.HOST_ADDRESS_MISSING
    bound = r"c1 \([0-9a-f]+\): failed to bind host port for 192\.0\.2\.1:8080:172\.17\.0\.2:80/tcp"
    assert re.search(f"{bound}: cannot assign requested address$", str(refusal.value))


async def test_of_a_range_the_first_free_port_is_given(facet: Facet) -> None:
    await reserve(facet, "c1", "c2")
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        taken = other.getsockname()[1]
        (forward,) = await facet.publications.publish("c1", [tcp(80, taken, taken + 40)])
        assert taken < forward.host_port <= taken + 40


async def test_who_names_no_port_gets_different_ones_from_the_host_s_range(facet: Facet) -> None:
    await reserve(facet, "c1", "c2")
    first = await facet.publications.publish("c1", [tcp(80), tcp(81)])
    second = await facet.publications.publish("c2", [tcp(80)])
    ports = [forward.host_port for forward in (*first, *second)]
    assert len(set(ports)) == 3
    assert set(ports) <= set(given_ports())
    await facet.publications.unpublish("c1")
    (third,) = await facet.publications.publish("c1", [tcp(80)])
    assert third.host_port not in ports


async def test_published_ports_are_kept_over_a_restart(runs: Runs) -> None:
    first = await runs.start()
    await reserve(first, "c1")
    before = await first.publications.publish("c1", [tcp(80), tcp(81, at=LOOPBACK)])
    second = await runs.start()
    assert second.publications.of("c1") == before
    assert second.platform.forwards == set(before)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("0.0.0.0", before[0].host_port))
    await second.publications.unpublish("c1")
    await second.endpoints.release("c1")
    third = await runs.start()
    assert third.publications.forwards() == []


async def test_ports_are_published_where_the_network_says(facet: Facet) -> None:
    option = "com.docker.network.bridge.host_binding_ipv4"
    await facet.networks.create(Plan("app", options={option: "127.0.0.1"}))
    await facet.networks.create(Plan("inner", internal=True))
    await facet.endpoints.reserve("c1", "", "", [Wish("inner"), Wish("app")])
    forwards = await facet.publications.publish("c1", [tcp(80), tcp(81, at=ANYWHERE)])
    assert [forward.host_address for forward in forwards] == [LOOPBACK, ANYWHERE]
    assert str(forwards[0].address) == "172.18.0.2"


async def test_who_cannot_be_reached_publishes_nothing(facet: Facet) -> None:
    await facet.networks.create(Plan("inner", internal=True))
    for container_id, network in (("c1", "inner"), ("c2", "none")):
        await facet.endpoints.reserve(container_id, "", "", [Wish(network)])
        with pytest.raises(FailedPrecondition, match="no network that can be reached"):
            await facet.publications.publish(container_id, [tcp(80)])
    with pytest.raises(NotFound):
        await facet.publications.publish("nobody", [tcp(80)])


async def test_a_platform_that_refuses_leaves_nothing_held(facet: Facet) -> None:
    await reserve(facet, "c1")
    port = free_port()
    facet.platform.refusing = True
    with pytest.raises(Unavailable):
        await facet.publications.publish("c1", [tcp(80, port)])
    facet.platform.refusing = False
    assert facet.publications.forwards() == []
    await facet.publications.publish("c1", [tcp(80, port)])


async def test_a_port_is_published_for_both_kinds_of_addresses_where_there_are_both(
    runs: Runs,
) -> None:
    facet = await runs.start()
    await facet.networks.create(Plan("six", ipv6=True))
    await facet.endpoints.reserve("c1", "", "", [Wish("six")])
    port = free_port()
    published = await facet.publications.publish("c1", [tcp(80, port), tcp(81)])
    assert [(str(f.host_address), f.port) for f in published] == [
        *(("0.0.0.0", 80), ("::", 80)),
        *(("0.0.0.0", 81), ("::", 81)),
    ]
    assert [f.host_port for f in published[:2]] == [port, port]
    assert published[2].host_port == published[3].host_port
    # Nobody else has it, and whoever comes from ::1 is refused at once.
    with socket.socket(socket.AF_INET6) as other, pytest.raises(OSError, match="in use"):
        other.bind(("::", port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", port), timeout=60).close()
    facet = await runs.start()
    assert await facet.publications.publish("c1", [tcp(80, port), tcp(81)]) == published


async def test_a_port_that_is_not_free_of_one_kind_is_not_had_at_all(facet: Facet) -> None:
    await facet.networks.create(Plan("six", ipv6=True))
    await facet.endpoints.reserve("c1", "", "", [Wish("six")])
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        port = other.getsockname()[1]
        with pytest.raises(AlreadyExists, match="address already in use"):
            await facet.publications.publish("c1", [tcp(80, port)])
        with socket.socket() as free_again:
            free_again.bind(("0.0.0.0", port))


async def test_what_ipv6_cannot_publish_is_refused(facet: Facet) -> None:
    await facet.networks.create(Plan("six", ipv6=True))
    await facet.endpoints.reserve("c1", "", "", [Wish("six")])
    await reserve(facet, "c2")
    with pytest.raises(NotImplementedYet, match="published on ::1 are not implemented"):
        await facet.publications.publish("c1", [tcp(80, at=IPv6Address("::1"))])
    with pytest.raises(InvalidArgument, match="the container has no IPv6 address"):
        await facet.publications.publish("c2", [tcp(80, at=IPv6Address("::"))])
    (only,) = await facet.publications.publish("c1", [tcp(80, at=IPv6Address("::"))])
    assert only.address == IPv6Address("fd12:3456:789a::2")
