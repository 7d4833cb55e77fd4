"""Conversations by UDP on external networks: as long as they are remembered, answers come in."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.network.drivers.linux import nft
from services.network.plans import Plan
from tests.integration.network.conftest import LAN_ROUTER as ROUTER
from tests.integration.network.conftest import LAN_ROUTER6 as ROUTER6
from tests.integration.network.conftest import Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.lan import mac_of_outside, mapped, on_lan
from tests.integration.network.namespaces import Outside, run

TABLE = "bridge vic_1a2b3c4d_l2"
ALLOWANCE, A_SECOND = 1000, 100


@contextmanager
def server(outside: Outside) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Somebody on the LAN who is asked at port 5000, by IPv4 and IPv6."""
    with outside.socket() as four, outside.socket(family=socket.AF_INET6) as six:
        for one, where in ((four, ROUTER), (six, ROUTER6)):
            one.settimeout(BOUND_SECONDS)
            one.bind((where, 5000))
        yield four, six


def ask(card: Guest, outside: Outside, *servers: socket.socket) -> None:
    mac = mac_of_outside(outside)
    card.send_udp(ROUTER, 5000, b"question", mac)
    card.send_udp6(ROUTER6, 5000, b"question", mac)
    for one in servers:
        assert one.recv(100) == b"question"


def answer(card: Guest, four: socket.socket, six: socket.socket, data: bytes) -> None:
    four.sendto(data, (card.address, 1000))
    six.sendto(data, (card.address6, 1000))


def answered(card: Guest, four: socket.socket, six: socket.socket, data: bytes) -> None:
    answer(card, four, six, data)
    card.receive_data(data)
    card.receive_data6(data)


def elements(name: str) -> list[Any]:
    text = run("nft", "--json", "list", "set", *TABLE.split(), name)
    (found,) = [entry["set"] for entry in json.loads(text)["nftables"] if "set" in entry]
    return list(found.get("elem", []))


def structure() -> list[str]:
    """Return what is in the table, in no order, but for what packets have put there."""
    entries = nft.table(*TABLE.split()) or []
    for entry in entries:
        if "timeout" in entry.get("set", {}):
            entry["set"].pop("elem", None)
    return sorted(json.dumps(entry) for entry in entries)


async def test_one_container_that_asks_everybody_takes_nobody_elses_answers(
    facet: Facet, cable: Outside
) -> None:
    await mapped(facet, "lan0")
    flooding, card = await on_lan(facet, "c1"), await on_lan(facet, "c2")
    mac = mac_of_outside(cable)
    began = time.monotonic()
    for port in range(10_000, 14_000):
        flooding.send_udp(ROUTER, port, b"flood", mac)
        flooding.send_udp6(ROUTER6, port, b"flood", mac)
    count = len(elements("asked")) + len(elements("asked6"))
    most = ALLOWANCE + A_SECOND * (time.monotonic() - began)
    assert ALLOWANCE <= count <= most
    with server(cable) as (four, six):
        ask(card, cable, four, six)
        answered(card, four, six, b"answer")


async def test_a_conversation_lasts_longer_once_it_is_answered(
    facet: Facet, cable: Outside
) -> None:
    await mapped(facet, "lan0")
    card, silent = await on_lan(facet, "c1"), await on_lan(facet, "c2")
    with server(cable) as (four, six):
        ask(card, cable, four, six)
        answered(card, four, six, b"first")
        # It is not asked for by ARP, which would keep what is sent to it until it is listened to.
        for where in (silent.address, silent.address6):
            cable.run("ip", "neigh", "replace", where, "lladdr", silent.mac, "dev", "eth0")
        ask(silent, cable, four, six)
        # As if the time of those without an answer were over.
        nft.apply(f"flush set {TABLE} asked\nflush set {TABLE} asked6\n")
        answer(silent, four, six, b"late")
        answered(card, four, six, b"second")
        ask(silent, cable, four, six)
        answered(silent, four, six, b"in time")
        assert not [seen for seen in silent.seen if b"late" in (seen.data or b"")]


async def test_conversations_go_on_while_networks_come_and_go(facet: Facet, cable: Outside) -> None:
    await mapped(facet, "lan0")
    card, other = await on_lan(facet, "c1"), await on_lan(facet, "c2")
    with server(cable) as (four, six):
        ask(card, cable, four, six)
        answered(card, four, six, b"first")
        ask(other, cable, four, six)
        await facet.networks.create(Plan("another"))
        answered(other, four, six, b"after a network came")
        await facet.networks.remove("another")
        answered(card, four, six, b"after one went")
        await facet.stop()
        await facet.start()
        answered(card, four, six, b"after a restart")
        answered(other, four, six, b"after a restart")


async def test_a_table_of_an_older_version_is_replaced_whole(facet: Facet, cable: Outside) -> None:
    await mapped(facet, "lan0")
    card = await on_lan(facet, "c1")
    wanted = structure()
    old = f"""
table {TABLE}
delete table {TABLE}
table {TABLE} {{
    set flows {{ type ipv4_addr . inet_service; flags dynamic, timeout; timeout 180s; size 100; }}
    set asked {{ type ipv4_addr . inet_service; flags dynamic, timeout; timeout 30s; size 65536; }}
    set sources {{ type ifname; elements = {{ "any" }} }}
    chain inward {{ drop; }}
    chain old {{ iifname @sources update @asked {{ ip saddr . udp sport }} goto inward; }}
    map leading {{ type ifname : verdict; elements = {{ "any" : goto old }} }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        iifname vmap @leading
        jump old
    }}
}}
"""
    for stranger in ("", f"add counter {TABLE} seen\n"):
        nft.apply(old + stranger)
        await facet.networks.create(Plan(f"another{len(stranger)}"))
        assert structure() == wanted
    with server(cable) as (four, six):
        ask(card, cable, four, six)
        answered(card, four, six, b"answer")
