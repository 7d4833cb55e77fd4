"""Addresses of one subnet."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlayer.errors import AlreadyExists, InvalidArgument, Reason, ResourceExhausted
from services.network.ipam import AddressPool, mac_of, parse_ipv4, parse_mac

SMALL = IPv4Network("10.9.8.0/29")
GATEWAY = IPv4Address("10.9.8.1")


def small() -> AddressPool[IPv4Address]:
    return AddressPool(SMALL, IPv4Address, reserved=[GATEWAY])


def test_addresses_come_in_order_and_leave_out_network_gateway_and_broadcast() -> None:
    pool = small()
    assert [str(pool.take()) for _ in range(5)] == [f"10.9.8.{n}" for n in (2, 3, 4, 5, 6)]


def test_a_full_pool_says_so() -> None:
    pool = small()
    for _ in range(5):
        pool.take()
    with pytest.raises(ResourceExhausted) as refusal:
        pool.take()
    assert refusal.value.reason is Reason.ADDRESSES_EXHAUSTED
    assert "10.9.8.0/29" in refusal.value.message


def test_a_released_address_rests_until_the_others_were_given() -> None:
    pool = small()
    first, second = pool.take(), pool.take()
    pool.give_back(first)
    assert [str(pool.take()) for _ in range(3)] == ["10.9.8.4", "10.9.8.5", "10.9.8.6"]
    assert pool.take() == first
    pool.give_back(second)
    assert pool.take() == second


def test_the_round_goes_on_after_a_restart() -> None:
    pool = AddressPool(SMALL, IPv4Address, reserved=[GATEWAY], cursor=IPv4Address("10.9.8.4"))
    assert str(pool.take()) == "10.9.8.5"


def test_a_cursor_of_another_subnet_begins_anew() -> None:
    pool = AddressPool(SMALL, IPv4Address, reserved=[GATEWAY], cursor=IPv4Address("172.17.0.9"))
    assert str(pool.take()) == "10.9.8.2"


def test_a_wanted_address_is_given_once() -> None:
    pool = small()
    wanted = IPv4Address("10.9.8.5")
    assert pool.take(wanted) == wanted
    with pytest.raises(AlreadyExists, match="Address already in use") as refusal:
        pool.take(wanted)
    assert refusal.value.reason is Reason.ADDRESS_IN_USE
    pool.give_back(wanted)
    assert pool.take(wanted) == wanted


@pytest.mark.parametrize("taken", ["10.9.8.0", "10.9.8.1", "10.9.8.7"])
def test_network_gateway_and_broadcast_addresses_are_never_given(taken: str) -> None:
    with pytest.raises(AlreadyExists):
        small().take(IPv4Address(taken))


def test_an_address_outside_of_the_subnet_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        small().take(IPv4Address("10.9.9.2"))
    assert refusal.value.reason is Reason.INVALID_ADDRESS


def test_addresses_come_from_the_range_and_can_be_asked_for_outside_of_it() -> None:
    pool = AddressPool(IPv4Network("10.1.0.0/16"), IPv4Address, ip_range=IPv4Network("10.1.4.0/30"))
    assert [str(pool.take()) for _ in range(4)] == [f"10.1.4.{n}" for n in range(4)]
    with pytest.raises(ResourceExhausted):
        pool.take()
    assert str(pool.take(IPv4Address("10.1.9.9"))) == "10.1.9.9"


@given(st.lists(st.one_of(st.none(), st.integers(0, 40)), max_size=120))
def test_no_address_has_two_owners(steps: list[int | None]) -> None:
    pool = AddressPool(IPv4Network("10.0.0.0/28"), IPv4Address, reserved=[IPv4Address("10.0.0.1")])
    owned: list[IPv4Address] = []
    for step in steps:
        if step is None:
            try:
                address = pool.take()
            except ResourceExhausted:
                assert len(owned) == 13
                continue
            assert address not in owned
            owned.append(address)
        elif step < len(owned):
            pool.give_back(owned.pop(step))
        assert pool.in_use == len(owned)


def test_the_mac_address_follows_from_the_address() -> None:
    assert mac_of(IPv4Address("172.17.0.2")) == "02:42:ac:11:00:02"


@pytest.mark.parametrize("text", ["02:42:AC:11:00:02", "02-42-ac-11-00-02"])
def test_a_wanted_mac_address_is_written_in_one_way(text: str) -> None:
    assert parse_mac(text) == "02:42:ac:11:00:02"


@pytest.mark.parametrize(
    "text",
    ["", "02:42", "02:42:ac:11:00:02:03", "02:42:ac:11:00:zz", "1:2:3:4:5:6", "ff:ff:ff:ff:ff:ff"],
)
def test_what_is_no_station_s_mac_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_mac(text)
    assert refusal.value.reason is Reason.INVALID_ADDRESS


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        parse_ipv4("172.17.0.256")
