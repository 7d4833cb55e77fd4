"""Endpoints of containers, from Reserve to Release."""

import asyncio
from ipaddress import IPv4Network

import pytest

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
)
from services.network.drivers import Segment
from services.network.model import Reservation, Wish
from services.network.plans import Plan
from tests.unit.network.conftest import Facet, Runs

BRIDGE = [Wish("bridge")]


def addresses(reservation: Reservation) -> list[str]:
    return [str(endpoint.ipv4) for endpoint in reservation.endpoints]


async def test_a_container_gets_a_management_address_and_one_for_each_network(
    facet: Facet,
) -> None:
    await facet.networks.create(Plan("app"))
    reservation = await facet.endpoints.reserve("c1", "web", "h", [Wish("bridge"), Wish("app")])
    assert addresses(reservation) == ["100.112.0.2", "172.17.0.2", "172.18.0.2"]
    assert [endpoint.mac for endpoint in reservation.endpoints] == [
        "02:42:64:70:00:02",
        "02:42:ac:11:00:02",
        "02:42:ac:12:00:02",
    ]
    names = [endpoint.port_name for endpoint in reservation.endpoints]
    assert names == [f"vt0-{endpoint.id[:6]}" for endpoint in reservation.endpoints]


async def test_a_container_without_network_is_on_the_management_network_alone(
    facet: Facet,
) -> None:
    reservation = await facet.endpoints.reserve("c1", "", "", [Wish("none")])
    assert len(reservation.endpoints) == 2
    assert reservation.endpoints[1].ipv4 is None
    assert len(facet.endpoints.ports([reservation])) == 1


async def test_a_repeated_request_gets_the_same_endpoints(runs: Runs) -> None:
    facet = await runs.start()
    first = await facet.endpoints.reserve("c1", "web", "h", BRIDGE)
    assert await facet.endpoints.reserve("c1", "web", "h", BRIDGE) == first
    facet = await runs.start()
    assert await facet.endpoints.reserve("c1", "web", "h", BRIDGE) == first
    with pytest.raises(AlreadyExists):
        await facet.endpoints.reserve("c1", "web", "h", [Wish("none")])


async def test_a_hundred_at_once_get_a_hundred_addresses(facet: Facet) -> None:
    reservations = await asyncio.gather(
        *(facet.endpoints.reserve(f"c{i}", "", "", BRIDGE) for i in range(100))
    )
    assert len({address for r in reservations for address in addresses(r)}) == 200
    assert len({e.port_name for r in reservations for e in r.endpoints}) == 200


async def test_the_same_request_ten_times_at_once_is_one(facet: Facet) -> None:
    reservations = await asyncio.gather(
        *(facet.endpoints.reserve("c1", "", "", BRIDGE) for _ in range(10))
    )
    assert len(set(reservations)) == 1


async def test_addresses_survive_a_restart_and_are_not_given_again(runs: Runs) -> None:
    facet = await runs.start()
    first = await facet.endpoints.reserve("c1", "web", "h", BRIDGE)
    second = await facet.endpoints.reserve("c2", "", "", BRIDGE)
    await facet.endpoints.release("c2")
    facet = await runs.start()
    assert facet.endpoints.get("c1") == first
    assert facet.endpoints.container_ids() == ["c1"]
    third = await facet.endpoints.reserve("c3", "", "", BRIDGE)
    assert not set(addresses(third)) & {*addresses(first), *addresses(second)}


async def test_after_release_an_address_can_be_asked_for_again(facet: Facet) -> None:
    await facet.networks.create(Plan("app", subnet=IPv4Network("10.5.0.0/16")))
    wish = [Wish("app", ipv4="10.5.0.77", mac="02:00:00:00:00:77")]
    first = await facet.endpoints.reserve("c1", "", "", wish)
    assert (addresses(first)[1], first.endpoints[1].mac) == ("10.5.0.77", "02:00:00:00:00:77")
    with pytest.raises(AlreadyExists) as refusal:
        await facet.endpoints.reserve("c2", "", "", wish)
    assert refusal.value.reason is Reason.ADDRESS_IN_USE
    await facet.endpoints.release("c1")
    await facet.endpoints.release("c1")
    again = await facet.endpoints.reserve("c2", "", "", wish)
    assert addresses(again)[1] == "10.5.0.77"


async def test_a_refused_reservation_gives_everything_back(facet: Facet) -> None:
    await facet.networks.create(Plan("tiny", subnet=IPv4Network("10.5.0.0/30")))
    await facet.endpoints.reserve("c1", "", "", [Wish("tiny")])
    with pytest.raises(ResourceExhausted) as refusal:
        await facet.endpoints.reserve("c2", "", "", [Wish("bridge"), Wish("tiny")])
    assert refusal.value.reason is Reason.ADDRESSES_EXHAUSTED
    pool = facet.networks.addresses(facet.networks.find("bridge"))
    assert pool is not None
    assert pool.in_use == 0
    assert facet.endpoints.container_ids() == ["c1"]


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ([Wish("nope")], Reason.NETWORK_NOT_FOUND),
        ([Wish("bridge", ipv4="172.17.0.9")], Reason.INVALID_ADDRESS),
        ([Wish("auto", ipv4="172.19.0.9")], Reason.INVALID_ADDRESS),
        ([Wish("own", ipv4="10.6.0.1")], Reason.INVALID_ADDRESS),
        ([Wish("own", ipv4="nonsense")], Reason.INVALID_ADDRESS),
        ([Wish("own", ipv4="10.5.0.1")], Reason.ADDRESS_IN_USE),
        ([Wish("own", mac="ff:ff:ff:ff:ff:ff")], Reason.INVALID_ADDRESS),
        ([Wish("own", mac="02:42:0a:05:00:01")], Reason.ADDRESS_IN_USE),
        ([Wish("bridge", aliases=("db",))], Reason.INVALID_NETWORK),
        ([Wish("none", mac="02:00:00:00:00:01")], Reason.INVALID_ADDRESS),
        ([Wish("bridge"), Wish("bridge")], Reason.INVALID_NETWORK),
    ],
)
async def test_wishes_that_cannot_be_granted_are_refused(
    facet: Facet, wishes: list[Wish], reason: Reason
) -> None:
    await facet.networks.create(Plan("auto"))
    await facet.networks.create(Plan("own", subnet=IPv4Network("10.5.0.0/16")))
    with pytest.raises((InvalidArgument, AlreadyExists, NotFound)) as refusal:
        await facet.endpoints.reserve("c1", "", "", wishes)
    assert refusal.value.reason is reason
    assert facet.endpoints.container_ids() == []


async def test_tap_names_never_meet(facet: Facet) -> None:
    facet.platform.digits = 1
    reservations = [await facet.endpoints.reserve(f"c{i}", "", "", BRIDGE) for i in range(8)]
    assert len({e.port_name for r in reservations for e in r.endpoints}) == 16


async def test_bind_connects_and_unbind_disconnects_as_often_as_asked(facet: Facet) -> None:
    reservation = await facet.endpoints.reserve("c1", "", "", BRIDGE)
    for _ in range(2):
        await facet.endpoints.bind("c1")
        assert all(facet.endpoints.bound(endpoint) for endpoint in reservation.endpoints)
        assert len(facet.platform.ports) == 2
    for _ in range(2):
        await facet.endpoints.unbind("c1")
        assert facet.platform.ports == {}
    assert facet.endpoints.get("c1") == reservation


async def test_a_vm_for_files_is_on_the_management_network_alone(facet: Facet) -> None:
    reservation = await facet.endpoints.reserve("c1", "", "", BRIDGE)
    bound = await facet.endpoints.bind("c1", management_only=True)
    assert [e.network_id for e in bound] == [facet.networks.management().id]
    assert sum(facet.endpoints.bound(endpoint) for endpoint in reservation.endpoints) == 1
    await facet.endpoints.bind("c1")
    assert all(facet.endpoints.bound(endpoint) for endpoint in reservation.endpoints)


async def test_bind_needs_a_reservation_and_the_taps(facet: Facet) -> None:
    with pytest.raises(NotFound) as unknown:
        await facet.endpoints.bind("c1")
    assert unknown.value.reason is Reason.ENDPOINT_NOT_FOUND
    await facet.endpoints.reserve("c1", "", "", BRIDGE)
    facet.platform.taps = set()
    with pytest.raises(FailedPrecondition) as missing:
        await facet.endpoints.bind("c1")
    assert missing.value.reason is Reason.TAP_MISSING
    await facet.endpoints.unbind("c2")


async def test_release_disconnects_first(facet: Facet) -> None:
    await facet.endpoints.reserve("c1", "", "", BRIDGE)
    await facet.endpoints.bind("c1")
    await facet.endpoints.release("c1")
    assert facet.platform.ports == {}


async def test_running_containers_are_connected_again_after_a_restart(runs: Runs) -> None:
    facet = await runs.start()
    await facet.endpoints.reserve("c1", "", "", BRIDGE)
    ports = facet.endpoints.ports()
    facet = await runs.start()
    assert sorted(facet.platform.ports) == sorted(port.name for port in ports)


async def test_in_another_slot_endpoints_get_names_and_addresses_that_fit(runs: Runs) -> None:
    facet = await runs.start()
    before = [await facet.endpoints.reserve(f"c{i}", "", "", BRIDGE) for i in range(3)]
    facet = await runs.start(slot=1)
    for old in before:
        new = facet.endpoints.get(old.container_id)
        assert [e.id for e in new.endpoints] == [e.id for e in old.endpoints]
        assert addresses(new)[0].startswith("100.112.16.")
        assert addresses(new)[1] == addresses(old)[1]
        assert all(str(e.port_name).startswith("vt1-") for e in new.endpoints)
    moved = [facet.endpoints.get(old.container_id) for old in before]
    facet = await runs.start(slot=1)
    assert [facet.endpoints.get(old.container_id) for old in before] == moved


async def test_a_caller_who_goes_away_leaves_no_half_reservation(runs: Runs) -> None:
    facet = await runs.start()
    work = asyncio.create_task(facet.endpoints.reserve("c1", "", "", BRIDGE))
    while not work.done() and "c1" not in facet.endpoints.container_ids():
        work.cancel()
        await asyncio.wait([work])
    again = await facet.endpoints.reserve("c1", "", "", BRIDGE)
    facet = await runs.start()
    assert facet.endpoints.get("c1") == again


def test_the_management_segment_is_known_by_its_ordinal() -> None:
    subnet = IPv4Network("100.112.0.0/20")
    assert Segment(-1, subnet, subnet[1], 1500).management
    assert not Segment(0, subnet, subnet[1], 1500).management


async def test_a_clones_management_endpoint_becomes_a_containers(runs: Runs) -> None:
    facet = await runs.start()
    await facet.endpoints.reserve("c1", "web", "h", BRIDGE)
    clone = await facet.endpoints.reserve("ready-1", "", "", ())
    own = facet.endpoints.get("c1")
    made = [facet.endpoints.ports([clone])[0], facet.endpoints.ports([own])[1]]
    facet.platform.taps = {port.name for port in made}
    await facet.endpoints.bind("ready-1")
    for _ in range(2):  # asked again, it is the same
        bound = await facet.endpoints.bind("c1", management_of="ready-1")
        assert bound[0].ipv4 == clone.endpoints[0].ipv4
        assert bound[0].port_name == clone.endpoints[0].port_name
        assert facet.endpoints.bound(bound[0])
    assert facet.endpoints.container_ids() == ["c1"]
    assert bound[1] == own.endpoints[1]
    facet = await runs.start()
    assert facet.endpoints.get("c1").endpoints == tuple(bound)
    pool = facet.networks.addresses(facet.networks.management())
    assert pool is not None
    assert pool.in_use == 1


async def test_what_a_clone_has_lost_a_container_can_t_be_bound_with(facet: Facet) -> None:
    await facet.endpoints.reserve("c1", "web", "h", BRIDGE)
    facet.platform.taps = set()
    with pytest.raises(FailedPrecondition) as refusal:
        await facet.endpoints.bind("c1", management_of="ready-1")
    assert refusal.value.reason is Reason.TAP_MISSING


async def test_a_containers_own_endpoints_are_not_given_to_another(facet: Facet) -> None:
    for name in ("c1", "c2"):
        await facet.endpoints.reserve(name, "", "", BRIDGE)
    with pytest.raises(InvalidArgument):
        await facet.endpoints.bind("c1", management_of="c2")
    assert facet.endpoints.container_ids() == ["c1", "c2"]
