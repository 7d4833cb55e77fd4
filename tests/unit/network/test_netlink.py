"""Netlink messages on the wire."""

import struct
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from services.network.drivers import Port
from services.network.drivers.linux import netlink
from services.network.drivers.linux.elements import port_key


@given(st.dictionaries(st.integers(1, 50), st.binary(max_size=40), max_size=8))
def test_attributes_are_read_as_they_were_written(values: dict[int, bytes]) -> None:
    payload = b"".join(netlink.attribute(kind, value) for kind, value in values.items())
    assert len(payload) % 4 == 0
    assert netlink.attributes(b"head" + payload, 4) == values


def test_a_nested_attribute_is_marked_and_its_type_read_without_the_mark() -> None:
    payload = netlink.attribute(3, netlink.attribute(1, b"abc"), nested=True)
    assert struct.unpack_from("=HH", payload) == (12, 3 | 0x8000)
    assert netlink.attributes(netlink.attributes(payload, 0)[3], 0) == {1: b"abc"}


@given(st.binary(max_size=200))
def test_nothing_that_the_kernel_could_send_is_fatal(datagram: bytes) -> None:
    for message in netlink.messages(datagram):
        netlink.attributes(message.payload, 0)


def test_several_messages_of_a_datagram_are_told_apart() -> None:
    error = struct.pack("=IHHIIi", 20, netlink.NLMSG_ERROR, 0, 5, 77, -2)
    other = struct.pack("=IHHII", 17, 16, 0, 6, 0) + b"x" + b"\0" * 3
    first, second = netlink.messages(error + other)
    assert (first.kind, first.sequence, first.port, first.error) == (2, 5, 77, 2)
    assert (second.kind, second.payload) == (16, b"x")


def test_a_port_s_key_is_laid_out_as_nft_lays_it_out() -> None:
    # As `nft --debug=netlink` shows it: each part is filled up to four bytes.
    port = Port("vt0-abcdee", 0, "02:42:ac:11:00:03", IPv4Address("172.17.0.3"))
    assert port_key(port) == (
        b"vt0-abcdee\0\0\0\0\0\0" + bytes.fromhex("0242ac110003") + b"\0\0" + b"\xac\x11\0\x03"
    )


def test_text_ends_at_its_end() -> None:
    assert netlink.text(b"vic0b0\0\0") == "vic0b0"
