"""Addresses by libc alone, against the standard library's own reading."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.addresses import broadcast, is_mac, packed_address, split_interface


@given(st.ip_addresses(), st.integers(0, 32))
def test_interface_is_read_as_the_standard_library_does(address: object, prefix: int) -> None:
    text = f"{address}/{prefix}"
    expected = ip_interface(text)
    assert split_interface(text) == (expected.ip.packed, expected.network.prefixlen)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_broadcast_is_the_networks(address: object, prefix: int) -> None:
    expected = IPv4Interface(f"{address}/{prefix}").network.broadcast_address.packed
    assert broadcast(packed_address(str(address)), prefix) == expected


@pytest.mark.parametrize("text", ["", "1", "1.2.3.4.5", "::g", "1.2.3.4\0", "localhost"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no address|null"):
        packed_address(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("02:42:ac:11:00:02", True),
        ("02:42:AC:11:00:02", False),
        ("02:42:ac:11:00", False),
        ("02:42:ac:11:00:2", False),
        ("02-42-ac-11-00-02", False),
        ("", False),
    ],
)
def test_mac(text: str, good: bool) -> None:
    assert is_mac(text) is good
