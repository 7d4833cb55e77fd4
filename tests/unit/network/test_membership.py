"""Containers that join and leave networks, and networks that go."""

import asyncio
from ipaddress import IPv4Network

import pytest

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
)
from services.network.drivers import Transport
from services.network.external import PortWish
from services.network.model import Wish
from services.network.plans import Plan
from services.network.ways import default_endpoint
from tests.unit.network.conftest import Facet, Runs
from tests.unit.network.naming import asked

FRONT, BACK = IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/16")
WEB = [PortWish(Transport.TCP, 80)]


async def make(facet: Facet) -> None:
    """Two networks and a container in the first of them."""
    await facet.networks.create(Plan("front", subnet=FRONT))
    await facet.networks.create(Plan("back", subnet=BACK))
    await facet.endpoints.reserve("c1", "web", "h", [Wish("front")])


def networks_of(facet: Facet, container_id: str) -> list[str]:
    endpoints = facet.endpoints.get(container_id).endpoints
    return [facet.networks.get(endpoint.network_id).name for endpoint in endpoints[1:]]


async def test_a_container_joins_and_leaves_networks_over_restarts(runs: Runs) -> None:
    facet = await runs.start()
    await make(facet)
    joined = await facet.endpoints.connect("c1", Wish("back", "10.2.0.9", aliases=("db",)))
    assert str(joined.ipv4) == "10.2.0.9"
    facet = await runs.start()
    assert facet.endpoints.get("c1").endpoints[2] == joined
    # What it wishes now is what a repeated Reserve has to ask for.
    wishes = [Wish("front"), Wish("back", "10.2.0.9", aliases=("db",))]
    await facet.endpoints.reserve("c1", "web", "h", wishes)
    await facet.endpoints.disconnect("c1", "front")
    await facet.endpoints.disconnect("c1", "front")
    facet = await runs.start()
    assert networks_of(facet, "c1") == ["back"]
    assert facet.networks.addresses(facet.networks.find("front")).in_use == 0  # type: ignore[union-attr]
    await facet.endpoints.disconnect("c1", "back")
    assert networks_of(facet, "c1") == []
    with pytest.raises(NotFound):
        await facet.endpoints.connect("c2", Wish("back"))


async def test_a_running_container_is_found_in_what_it_joins_and_not_in_what_it_left(
    facet: Facet,
) -> None:
    await make(facet)
    await facet.endpoints.reserve("c2", "db", "h2", [Wish("back")])
    await facet.endpoints.bind("c1")
    await facet.endpoints.bind("c2")
    assert asked(facet, "back", "10.2.0.2", "web") is None
    await facet.endpoints.connect("c1", Wish("back", aliases=("www",)))
    assert asked(facet, "back", "10.2.0.2", "web") is None, "nothing is on the wire yet"
    await facet.endpoints.bind("c1")
    assert asked(facet, "back", "10.2.0.2", "www") == ("NOERROR", ["10.2.0.3"])
    # In two networks it is answered from both, wherever it asks.
    assert asked(facet, "front", "10.1.0.2", "db") == ("NOERROR", ["10.2.0.2"])
    await facet.endpoints.disconnect("c1", "back")
    assert asked(facet, "back", "10.2.0.2", "www") is None
    assert asked(facet, "front", "10.1.0.2", "db") is None
    assert len(facet.platform.ports) == 4


async def test_joining_twice_is_joining_once(facet: Facet) -> None:
    await make(facet)
    wish = Wish("back", aliases=("a",))
    first = await facet.endpoints.connect("c1", wish)
    assert await facet.endpoints.connect("c1", wish) == first
    with pytest.raises(AlreadyExists, match="already exists in network back") as refusal:
        await facet.endpoints.connect("c1", Wish("back", aliases=("b",)))
    assert refusal.value.reason is Reason.ENDPOINT_EXISTS


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (Wish("nowhere"), NotFound),
        (Wish("none"), InvalidArgument),
        (Wish("back", "10.2.0.1"), AlreadyExists),
        (Wish("back", "10.9.0.1"), InvalidArgument),
        (Wish("back", mac="02:42:0a:01:00:02"), AlreadyExists),
        (Wish("bridge", "172.17.0.9"), InvalidArgument),
        (Wish("bridge", aliases=("x",)), InvalidArgument),
    ],
)
async def test_what_cannot_be_joined_changes_nothing(
    facet: Facet, wish: Wish, error: type[Exception]
) -> None:
    await make(facet)
    before = facet.endpoints.get("c1")
    with pytest.raises(error):
        await facet.endpoints.connect("c1", wish)
    assert facet.endpoints.get("c1") == before
    assert len(await facet.store.reservations()) == 1
    assert not facet.networks.addresses(facet.networks.find("back")).in_use  # type: ignore[union-attr]
    await facet.endpoints.connect("c1", Wish("back"))


async def test_a_hundred_join_at_once(facet: Facet) -> None:
    await make(facet)
    ids = [f"x{number}" for number in range(100)]
    await asyncio.gather(*(facet.endpoints.reserve(i, i, i, [Wish("front")]) for i in ids))
    joined = await asyncio.gather(*(facet.endpoints.connect(i, Wish("back")) for i in ids))
    assert len({endpoint.ipv4 for endpoint in joined}) == 100


async def test_the_way_out_is_dockers(facet: Facet) -> None:
    await make(facet)
    await facet.networks.create(Plan("a-closed", internal=True))
    for name in ("back", "a-closed"):
        await facet.endpoints.connect("c1", Wish(name))

    def way() -> str:
        found = default_endpoint(facet.endpoints.get("c1"), facet.networks.get)
        return "" if found is None else facet.networks.get(found.network_id).name

    assert way() == "back", "the first by name of those that lead out"
    await facet.endpoints.disconnect("c1", "front")
    await facet.endpoints.connect("c1", Wish("front", gateway_priority=1))
    assert way() == "front"
    for name in ("front", "back"):
        await facet.endpoints.disconnect("c1", name)
    assert way() == ""


async def test_published_ports_follow_the_way_out(runs: Runs) -> None:
    facet = await runs.start()
    await make(facet)
    (given,) = await facet.publications.publish("c1", WEB)
    assert str(given.address) == "10.1.0.2"
    await facet.endpoints.connect("c1", Wish("back"))
    (led,) = await facet.publications.publish("c1", WEB)
    assert (led.host_port, str(led.address)) == (given.host_port, "10.2.0.2")
    assert facet.platform.forwards == {led}
    facet = await runs.start()
    assert facet.publications.of("c1") == (led,)
    await facet.endpoints.disconnect("c1", "back")
    assert await facet.publications.publish("c1", WEB) == (given,)
    await facet.endpoints.disconnect("c1", "front")
    with pytest.raises(FailedPrecondition):
        await facet.publications.publish("c1", WEB)


async def test_a_network_whose_members_do_not_run_goes_and_they_lose_it(runs: Runs) -> None:
    facet = await runs.start()
    await make(facet)
    await facet.endpoints.connect("c1", Wish("back"))
    await facet.endpoints.bind("c1")
    with pytest.raises(FailedPrecondition, match="active endpoints"):
        await facet.networks.remove("back")
    assert networks_of(facet, "c1") == ["front", "back"]
    await facet.endpoints.unbind("c1")
    await facet.networks.remove("back")
    assert networks_of(facet, "c1") == ["front"]
    facet = await runs.start()
    assert networks_of(facet, "c1") == ["front"]
    await facet.endpoints.unbind("c1")
    assert [network.name for network in await facet.networks.prune(None, [])] == ["front"]
    assert networks_of(facet, "c1") == []


async def test_links_are_names_for_one_container_alone(facet: Facet) -> None:
    await make(facet)
    await facet.endpoints.reserve("c2", "app_db_1", "h2", [Wish("front")])
    await facet.endpoints.reserve("c3", "other", "h3", [Wish("front", links=("app_db_1:DB",))])
    for name in ("c1", "c2", "c3"):
        await facet.endpoints.bind(name)
    assert asked(facet, "front", "10.1.0.4", "db") == ("NOERROR", ["10.1.0.3"])
    assert asked(facet, "front", "10.1.0.2", "db") is None
    # Whoever it leads to has to run.
    await facet.endpoints.unbind("c2")
    assert asked(facet, "front", "10.1.0.4", "db") is None
