"""The text of the rules. What they do to packets is shown by the integration tests."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from services.network.drivers import MANAGEMENT_ORDINAL, Port, Segment
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards
from services.network.drivers.linux.rules import removal, ruleset

NAMES = Names("1a2b3c4d", 7)
MANAGEMENT = Segment(
    MANAGEMENT_ORDINAL, IPv4Network("100.112.112.0/20"), IPv4Address("100.112.112.1"), 1500
)
DEFAULT = Segment(0, IPv4Network("172.17.0.0/16"), IPv4Address("172.17.0.1"), 1500)
PORT = Port("vt7-abcdef", 0, "02:42:ac:11:00:02", IPv4Address("172.17.0.2"))


def elements(text: str, name: str) -> str:
    """Return what stands between the braces of a set's elements."""
    body = text.split(f"set {name} {{")[1].split("\n\t}")[0]
    return body.split("elements = { ")[1].split(" }")[0] if "elements" in body else ""


def test_both_tables_are_replaced_in_one_transaction() -> None:
    lines = ruleset(NAMES, Guards(7443), [], []).splitlines()
    assert [line for line in lines if line.startswith(("table", "delete"))] == [
        "table inet vic_1a2b3c4d",
        "delete table inet vic_1a2b3c4d",
        "table inet vic_1a2b3c4d {",
        "table bridge vic_1a2b3c4d_l2",
        "delete table bridge vic_1a2b3c4d_l2",
        "table bridge vic_1a2b3c4d_l2 {",
    ]


def test_what_packets_have_put_into_the_table_of_frames_stays() -> None:
    asked = {
        "name": "asked",
        "type": ["ipv4_addr", "inet_service", "ipv4_addr", "inet_service"],
        "timeout": 30,
        "size": 65_536,
    }
    begun = {"name": "begun", "type": "ifname", "timeout": 60, "size": 10}
    table = {"table": {"name": "vic_1a2b3c4d_l2"}}
    entries: list[dict[str, Any]] = [
        table,
        {"chain": {"name": "forward"}},
        {"set": asked},
        {"set": begun},
        {"set": {"name": "sources", "type": "ifname"}},
        {"map": {"name": "leading", "type": "ifname", "map": "verdict"}},
        {"rule": {"chain": "forward"}},
    ]

    def beginning(found: list[dict[str, Any]] | None) -> list[str]:
        text = ruleset(NAMES, Guards(7443), [], [], (), found)
        return text.partition("_l2 {\n")[0].splitlines()[-6:-1]

    assert beginning(entries) == [
        "flush table bridge vic_1a2b3c4d_l2",
        "delete set bridge vic_1a2b3c4d_l2 begun",
        "delete set bridge vic_1a2b3c4d_l2 sources",
        "delete map bridge vic_1a2b3c4d_l2 leading",
        "delete chain bridge vic_1a2b3c4d_l2 forward",
    ]
    # What is not understood goes with all of it, and so does a table that is asleep.
    asleep = {"table": {"name": "vic_1a2b3c4d_l2", "flags": ["dormant"]}}
    for found in (None, [table, {"counter": {"name": "seen"}}], [asleep]):
        assert beginning(found)[-1] == "delete table bridge vic_1a2b3c4d_l2"


def test_removal_works_whether_the_tables_are_there_or_not() -> None:
    assert removal(NAMES).splitlines() == [
        "table inet vic_1a2b3c4d",
        "delete table inet vic_1a2b3c4d",
        "table bridge vic_1a2b3c4d_l2",
        "delete table bridge vic_1a2b3c4d_l2",
    ]


def test_the_same_facts_in_another_order_give_the_same_text() -> None:
    one = ruleset(NAMES, Guards(7443), [MANAGEMENT, DEFAULT], [PORT])
    assert one == ruleset(NAMES, Guards(7443), [DEFAULT, MANAGEMENT], [PORT])


def test_from_the_management_network_only_the_tether_port_is_open() -> None:
    text = ruleset(NAMES, Guards(7443), [MANAGEMENT], [])
    chain = text.split("chain from_management {")[1].split("}")[0]
    assert [line.strip() for line in chain.strip().splitlines()] == [
        "ip daddr 100.112.112.1 tcp dport 7443 accept",
        "drop",
    ]


def test_without_a_management_network_nothing_is_open_there() -> None:
    text = ruleset(NAMES, Guards(7443), [], [])
    assert text.split("chain from_management {")[1].split("}")[0].strip() == "drop"


@pytest.mark.parametrize(
    ("segment", "same", "outward", "masqueraded"),
    [
        (DEFAULT, '"vic7b0" . "vic7b0"', '"vic7b0"', "172.17.0.0/16"),
        (replace(DEFAULT, isolated=True), "", '"vic7b0"', "172.17.0.0/16"),
        (replace(DEFAULT, outward=False), '"vic7b0" . "vic7b0"', "", ""),
        (replace(DEFAULT, masquerade=False), '"vic7b0" . "vic7b0"', '"vic7b0"', ""),
    ],
)
def test_what_a_network_may_is_told_by_elements(
    segment: Segment, same: str, outward: str, masqueraded: str
) -> None:
    text = ruleset(NAMES, Guards(7443), [MANAGEMENT, segment], [])
    assert elements(text, "same") == same
    assert elements(text, "outward") == outward
    assert elements(text, "masqueraded") == masqueraded


def test_the_management_bridge_is_no_network_of_containers() -> None:
    text = ruleset(NAMES, Guards(7443), [MANAGEMENT], [])
    assert all(elements(text, name) == "" for name in ("same", "outward", "masqueraded"))


def test_a_port_is_one_element_and_no_rule() -> None:
    text = ruleset(NAMES, Guards(7443), [DEFAULT], [PORT])
    assert elements(text, "sources") == '"vt7-abcdef" . 02:42:ac:11:00:02 . 172.17.0.2'
    without = ruleset(NAMES, Guards(7443), [DEFAULT], [])
    assert len(text.splitlines()) == len(without.splitlines()) + 1


def test_ports_of_the_host_can_be_closed_to_containers() -> None:
    assert elements(ruleset(NAMES, Guards(7443, (2375, 2376)), [], []), "closed_ports") == (
        "2375, 2376"
    )


def test_names_of_one_slot_never_fit_another_s() -> None:
    one, ten = Names("1a2b3c4d", 1), Names("1a2b3c4d", 10)
    for name in (ten.management_bridge, ten.bridge(0), ten.bridge(12), ten.tap("ab" * 32)):
        assert ten.owns_link(name)
        assert not one.owns_link(name)


def test_names_fit_an_interface() -> None:
    names = Names("1a2b3c4d", 255)
    assert all(len(name) <= 15 for name in (names.bridge(99_999), names.tap("ab" * 32)))
