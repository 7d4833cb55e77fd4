"""What the driver leaves on a host: as much as it should, and nothing in the end."""

import asyncio
from pathlib import Path

import pytest

from portlayer.errors import FailedPrecondition, Reason
from services.network.drivers.linux import Guards, LinuxDriver, Names
from services.network.model import Wish
from services.network.plans import Plan
from tests.descriptors import open_descriptors
from tests.integration.network.conftest import INSTANCE, Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run
from tests.integration.network.state import comparable, host_state, talk


async def test_teardown_leaves_nothing(host: None, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    run(
        "nft",
        "-f",
        "-",
        text="table ip filter {\n chain FORWARD {\n"
        "  type filter hook forward priority 0; policy drop;\n }\n}\n",
    )
    facet = Facet(0, INSTANCE, tmp_path / "one")
    before = host_state()
    await facet.start()
    await facet.networks.create(Plan("app"))
    await facet.container("c1")
    await facet.container("c2", "app")
    assert host_state() != before
    await facet.driver.teardown()
    assert host_state() == before
    await facet.stop()
    # From a process that knows nothing but the names, and when there is nothing to remove.
    fresh = LinuxDriver(Names(INSTANCE, 0), Guards(7443))
    await fresh.teardown()
    await fresh.close()
    assert host_state() == before


async def test_teardown_touches_no_other_instance(facet: Facet, other: Facet) -> None:
    _, one = await other.container("c1")
    _, two = await other.container("c2")
    await facet.driver.teardown()
    talk(one, two, b"still there")
    assert await other.driver.restore() == []


async def test_starting_again_changes_nothing_and_disturbs_nobody(
    facet: Facet, outside: Outside
) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    with outside.socket() as server:
        server.settimeout(BOUND_SECONDS)
        server.bind((outside.address, 9000))
        one.send_udp(outside.address, 9000, b"question")
        _, sender = server.recvfrom(100)
        before = host_state()
        await facet.stop()
        talk(one, two, b"while it is away")
        await facet.start()
        assert host_state() == before
        assert all(facet.endpoints.bound(e) for e in facet.endpoints.get("c1").endpoints)
        # The translation of an open connection is the kernel's and goes on.
        server.sendto(b"answer", sender)
        one.receive_data(b"answer")
    talk(one, two, b"afterwards")


async def test_every_call_may_be_repeated(facet: Facet) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    before = host_state()
    ports = facet.endpoints.ports()
    for _ in range(2):
        await facet.driver.attach(ports)
        for segment in facet.networks.segments():
            await facet.driver.add_segment(segment)
        assert await facet.driver.restore() == []
    assert host_state() == before
    talk(one, two, b"as before")
    for _ in range(2):
        await facet.driver.detach([port.name for port in ports])
    assert not any(facet.driver.attached(port.name) for port in ports)


async def test_binding_without_taps_connects_nothing(facet: Facet) -> None:
    reservation = await facet.endpoints.reserve("c1", "", "", [Wish("bridge")])
    management = facet.networks.management().pool
    assert management is not None
    tether = Guest.of(reservation.endpoints[0], management.gateway)
    with pytest.raises(FailedPrecondition) as refusal:
        await facet.endpoints.bind("c1")
    assert refusal.value.reason is Reason.TAP_MISSING
    assert "master" not in run("ip", "link", "show", tether.name)
    assert tether.name not in run("nft", "list", "ruleset")
    tether.unplug()


async def test_a_hundred_containers_at_once(facet: Facet) -> None:
    pairs = await asyncio.gather(*(facet.container(f"c{i}") for i in range(100)))
    cards = [card for _, card in pairs]
    talk(cards[0], cards[99], b"from the first to the last")
    assert await facet.driver.restore() == []
    assert "isolated on" in run("bridge", "-d", "link", "show", "dev", pairs[50][0].name)
    await asyncio.gather(*(facet.endpoints.release(f"c{i}") for i in range(100)))
    assert "elements" not in run("nft", "list", "set", "bridge", f"vic_{INSTANCE}_l2", "sources")


async def test_a_bridge_takes_no_part_in_multicast(facet: Facet) -> None:
    """It tells its members nothing of its own, and no member's question turns it against others.

    A bridge that looks into multicast joins the group of those who do (RFC 4286), reports that to
    all members, and sends groups only where whoever poses as the querier was answered.
    """
    await facet.container("c1")
    groups = run("ip", "maddr", "show").split()
    assert "224.0.0.1" in groups
    assert "224.0.0.106" not in groups


async def test_networks_come_and_go_and_leave_nothing(facet: Facet) -> None:
    before = comparable(host_state())
    repaired: list[str] = []

    async def compare() -> None:
        # Whatever is half made or half removed at that moment is nobody's damage.
        while True:
            repaired.extend(await facet.driver.restore())

    comparing = asyncio.create_task(compare())
    await asyncio.gather(
        *(facet.networks.create(Plan(f"n{i}", options={}, labels={"n": str(i)})) for i in range(20))
    )
    await asyncio.gather(*(facet.networks.remove(f"n{i}") for i in range(20)))
    comparing.cancel()
    await asyncio.wait([comparing])
    assert repaired == []
    assert comparable(host_state()) == before


async def test_two_instances_that_start_at_once_choose_two_subnets(
    host: None, tmp_path: Path
) -> None:
    facets = [Facet(slot, f"0000000{slot}", tmp_path / str(slot)) for slot in range(4)]
    for facet in facets:
        facet.directory.mkdir()
        await facet.open()
    await asyncio.gather(*(facet.start() for facet in facets))
    subnets = {str(f.networks.find("bridge").pool) for f in facets}
    assert len(subnets) == 4
    for facet in facets:
        await facet.driver.teardown()
        await facet.stop()


async def test_a_subnet_that_the_host_routes_to_is_passed_over(
    outside: Outside, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    run("ip", "route", "add", "172.17.128.0/24", "via", outside.address)
    run("ip", "route", "add", "default", "via", outside.address)
    facet = Facet(0, INSTANCE, tmp_path / "one")
    await facet.start()
    pool = facet.networks.find("bridge").pool
    assert pool is not None
    assert str(pool.subnet) == "172.18.0.0/16"
    await facet.driver.teardown()
    await facet.stop()


def test_ids_of_file_descriptors_do_not_grow(host: None) -> None:
    """Opening and closing the driver's parts leaves no descriptor."""
    before = open_descriptors()

    async def once() -> None:
        driver = LinuxDriver(Names(INSTANCE, 0), Guards(7443))
        await driver.start([], [])
        await driver.close()

    asyncio.run(once())
    assert not open_descriptors() - before
