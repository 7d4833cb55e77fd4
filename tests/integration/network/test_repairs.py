"""What others take or change on the host is put back, and what is gone is forgotten."""

from pathlib import Path
from typing import Any

import pytest

from services.network.drivers.linux import links
from services.network.drivers.linux.listing import Listing
from services.network.plans import Plan
from tests.integration.network.conftest import INSTANCE, Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run
from tests.integration.network.state import comparable, doubted, host_state, talk, until

TABLE = f"vic_{INSTANCE}"

FRAMES = f"vic_{INSTANCE}_l2"

STRANGER = "{ vt0-ffffff . 02:00:00:00:00:01 . 10.0.0.1 }"

NOTED = "{ vt0-ffffff . 02:00:00:00:00:01 . 10.0.0.1 comment note }"

DAMAGES = {
    "rules deleted": f"nft delete table inet {TABLE}",
    "frame rules deleted": f"nft delete table bridge {FRAMES}",
    "all rules deleted": "nft flush ruleset",
    "a rule added": f"nft insert rule inet {TABLE} from_management accept",
    "a chain deleted": f"nft delete chain inet {TABLE} forward",
    "a chain for frames deleted": f"nft delete chain bridge {FRAMES} prerouting",
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


async def test_a_comparison_asks_the_kernel_no_more_often_for_many_networks(
    host: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Counting:
        def __init__(self) -> None:
            self._listing = Listing()

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(self._listing, name)

    monkeypatch.setattr(links, "Listing", Counting)
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
