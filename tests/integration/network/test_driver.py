"""What the driver leaves on a host, and how it puts back what others take."""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from portlayer.errors import FailedPrecondition, Reason
from services.network.drivers.linux import Guards, LinuxDriver, Names, links
from services.network.model import Wish
from services.network.plans import Plan
from tests.integration.network.conftest import INSTANCE, Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run

PASSING = re.compile(r" linkdown|NO-CARRIER,|,LOWER_UP| state \w+")
"""What the kernel says of a bridge that has no port yet or any more, a moment later."""


def host_state() -> str:
    """Return links, addresses, routes and rules of the host, without handles.

    Without IPv6, whose addresses the kernel itself gives to the cable, a moment later.
    """
    state = "\n".join(
        (
            run("ip", "-4", "-o", "addr"),
            run("ip", "-o", "link"),
            run("ip", "-4", "route", "show", "table", "all"),
            run("nft", "-s", "list", "ruleset"),
        )
    )
    return PASSING.sub("", state)


def talk(source: Guest, target: Guest, data: bytes) -> None:
    """Send a datagram from one card to another, and see it arrive."""
    source.send_udp(target.address, 5, data, target.mac)
    target.receive_data(data)


async def doubted(facet: Facet) -> None:
    """Wait until the driver has reason to look."""
    async with asyncio.timeout(BOUND_SECONDS):
        await facet.driver.doubt.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until something holds, for which news are on the way."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not condition():  # noqa: ASYNC110 - the driver announces this to nobody
            await asyncio.sleep(0)


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


async def test_a_comparison_asks_the_kernel_no_more_often_for_many_networks(
    host: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Counting:
        def __init__(self) -> None:
            self._route = IPRoute()

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(self._route, name)

    monkeypatch.setattr(links, "IPRoute", Counting)
    facet = Facet(0, INSTANCE, tmp_path)
    await facet.start()
    await facet.networks.create(Plan("first"))
    assert await facet.driver.restore() == []
    asked.clear()
    assert await facet.driver.restore() == []
    for_one = list(asked)
    for number in range(5):
        await facet.networks.create(Plan(f"net{number}"))
    asked.clear()
    assert await facet.driver.restore() == []
    assert asked == for_one
    await facet.driver.teardown()
    await facet.stop()


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


TABLE = f"vic_{INSTANCE}"
FRAMES = f"vic_{INSTANCE}_l2"
STRANGER = "{ vt0-ffffff . 02:00:00:00:00:01 . 10.0.0.1 }"
NOTED = "{ vt0-ffffff . 02:00:00:00:00:01 . 10.0.0.1 comment note }"
DAMAGES = {
    "rules deleted": f"nft delete table inet {TABLE}",
    "frame rules deleted": f"nft delete table bridge {FRAMES}",
    "all rules deleted": "nft flush ruleset",
    "a rule added": f"nft insert rule inet {TABLE} from_management accept",
    "addresses of ports deleted": f"nft flush set bridge {FRAMES} sources",
    "a stranger allowed": f"nft add element bridge {FRAMES} sources {STRANGER}",
    "a stranger with a note": f"nft add element bridge {FRAMES} sources {NOTED}",
    "the bridge's address removed": "ip addr flush dev vic0b0",
    "the bridge's route removed": "ip route del 172.17.0.0/16 dev vic0b0",
    "an address added": "ip addr add 10.99.0.1/24 dev vic0b0",
    "the bridge set down": "ip link set vic0b0 down",
    "the bridge deleted": "ip link del vic0b0",
    "the management bridge deleted": "ip link del vic0m",
    "a bridge of ours that nobody knows": "ip link add vic0b77 type bridge",
    "forwarding turned off": "sysctl -qw net.ipv4.ip_forward=0",
}


def comparable(state: str) -> str:
    """Return a host's state without what a new bridge has new: its index."""
    lines = [line.partition(": ")[2] or line for line in state.splitlines()]
    return "\n".join(sorted(lines))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_what_others_change_is_put_right(facet: Facet, outside: Outside, damage: str) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    talk(one, two, b"before")
    before = comparable(host_state())
    run(*damage.split())
    await facet.driver.restore()
    assert comparable(host_state()) == before
    assert await facet.driver.restore() == []
    talk(one, two, b"afterwards")
    with outside.socket() as server:
        server.settimeout(BOUND_SECONDS)
        server.bind((outside.address, 9000))
        one.send_udp(outside.address, 9000, b"question")
        assert server.recvfrom(100)[0] == b"question"


async def test_a_card_taken_off_its_bridge_is_connected_again(facet: Facet) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    await facet.driver.restore()
    run("ip", "link", "set", one.name, "nomaster")
    await doubted(facet)
    assert await facet.driver.restore() == [f"connected {one.name} again"]
    talk(one, two, b"afterwards")


@pytest.mark.parametrize("flag", ["isolated off", "group_fwd_mask 0"])
async def test_what_others_let_a_card_do_is_taken_back(facet: Facet, flag: str) -> None:
    tether, _ = await facet.container("c1")
    await facet.driver.restore()
    run("ip", "link", "set", tether.name, "type", "bridge_slave", *flag.split())
    assert await facet.driver.restore() == [f"connected {tether.name} again"]
    shown = run("ip", "-d", "link", "show", tether.name)
    assert "isolated on" in shown
    assert "group_fwd_mask 0xfffd" in shown
    assert await facet.driver.restore() == []


async def test_deleted_rules_raise_a_doubt_at_once(facet: Facet) -> None:
    await facet.driver.restore()
    run("nft", "delete", "table", "inet", f"vic_{INSTANCE}")
    await doubted(facet)


async def test_a_card_on_our_bridge_that_nobody_knows_is_taken_off(facet: Facet) -> None:
    _, one = await facet.container("c1")
    stranger = Guest("vt0-eeeeee", "", "", "", "")
    stranger.plug_in()
    facet.guests.append(stranger)
    run("ip", "link", "set", "vt0-eeeeee", "master", "vic0b0")
    assert await facet.driver.restore() == ["took vt0-eeeeee off its bridge"]
    assert "master" not in run("ip", "link", "show", "vt0-eeeeee")
    assert facet.driver.attached(one.name)


async def test_when_a_vm_is_gone_its_rules_go_without_being_asked(facet: Facet) -> None:
    tether, card = await facet.container("c1")
    await facet.driver.restore()
    for guest in (tether, card):
        guest.unplug()
    await until(lambda: not any(facet.driver.attached(g.name) for g in (tether, card)))
    assert not facet.driver.doubt.is_set()
    assert await facet.driver.restore() == []
    assert card.name not in run("nft", "list", "ruleset")
    # The same container starts again: another tap of the same name.
    for guest in (tether, card):
        guest.plug_in()
    await facet.endpoints.bind("c1")
    _, other_card = await facet.container("c2")
    talk(card, other_card, b"hello again")


async def test_old_news_do_not_undo_a_new_binding(facet: Facet) -> None:
    tether, card = await facet.container("c1")
    _, other_card = await facet.container("c2")
    for guest in (tether, card):
        guest.unplug()
        guest.plug_in()
    await facet.endpoints.bind("c1")
    await facet.driver.restore()
    talk(card, other_card, b"hello")


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


FIREWALLS = {
    "iptables": "table ip filter {\n chain FORWARD {\n"
    "  type filter hook forward priority filter; policy drop;\n }\n}\n",
    "docker": "table ip filter {\n chain DOCKER-USER {\n }\n chain FORWARD {\n"
    "  type filter hook forward priority filter; policy drop;\n  jump DOCKER-USER\n }\n}\n",
    "inet with reject": "table inet fw {\n chain forward {\n"
    "  type filter hook forward priority 10; policy accept;\n  reject\n }\n}\n",
}


@pytest.mark.parametrize("firewall", FIREWALLS.values(), ids=FIREWALLS.keys())
async def test_containers_get_through_a_host_that_drops_by_default(
    facet: Facet, outside: Outside, firewall: str
) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    tether, _ = await facet.container("c3")
    await facet.driver.restore()
    before = host_state()
    run("nft", "-f", "-", text=firewall)
    await doubted(facet)
    with outside.socket() as server:
        server.settimeout(BOUND_SECONDS)
        server.bind((outside.address, 9000))
        one.send_udp(outside.address, 9000, b"dropped")
        await facet.driver.restore()
        one.send_udp(outside.address, 9000, b"passed")
        data, sender = server.recvfrom(100)
        assert data == b"passed"
        server.sendto(b"answer", sender)
        one.receive_data(b"answer")
        talk(one, two, b"bridged")
        # It has not become a hole for anything else.
        tether.send_udp(outside.address, 9000, b"from a tether")
        one.send_udp(outside.address, 9000, b"the end")
        assert server.recvfrom(100)[0] == b"the end"
    assert await facet.driver.restore() == []
    rules = run("nft", "list", "ruleset")
    assert rules.count(f'comment "vic {INSTANCE}:') == 2
    await facet.driver.teardown()
    table = firewall.split(" {")[0]
    run("nft", "delete", *table.split())
    assert "vic" not in run("nft", "list", "ruleset")
    assert f"table inet vic_{INSTANCE}" in before


async def test_iptables_still_reads_its_tables(facet: Facet) -> None:
    if shutil.which("iptables-nft") is None:
        pytest.skip("needs iptables-nft")
    for rule in ("-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER"):
        run("iptables-nft", *rule.split())
    before = run("iptables-nft", "-S")
    await facet.driver.restore()
    listed = run("iptables-nft", "-S")
    for match in ("-o vic0b+", "-i vic0b+"):
        assert f'-A DOCKER-USER {match} -m comment --comment "vic {INSTANCE}: ' in listed
    await facet.driver.teardown()
    assert run("iptables-nft", "-S") == before


async def test_tethers_get_through_a_host_that_drops_input(facet: Facet) -> None:
    tether, card = await facet.container("c1")
    run(
        "nft",
        "-f",
        "-",
        text="table ip filter {\n chain INPUT {\n"
        "  type filter hook input priority filter; policy drop;\n }\n"
        " chain OUTPUT {\n  type filter hook output priority filter; policy drop;\n }\n}\n",
    )
    await facet.driver.restore()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("100.112.0.1", 7443))
        listener.listen()
        card.connect("100.112.0.1", 7443)
        tether.connect("100.112.0.1", 7443)
        answer = tether.receive(lambda frame: frame.protocol == 6)
        assert answer.ports[0] == 7443
    await facet.driver.teardown()


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
    before = len(os.listdir("/proc/self/fd"))

    async def once() -> None:
        driver = LinuxDriver(Names(INSTANCE, 0), Guards(7443))
        await driver.start([], [])
        await driver.close()

    asyncio.run(once())
    assert len(os.listdir("/proc/self/fd")) == before
