"""Network addresses as text and as bytes, by libc alone.

``ipaddress`` would be the natural choice; but every function that a clone runs for the first time
costs it time under emulation, and this is all that the tether needs.
"""

from __future__ import annotations

import socket


def packed_address(text: str) -> bytes:
    """4 or 16 bytes. Raises ValueError when ``text`` is no address."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except OSError as error:
        raise ValueError(f"{text!r} is no address") from error


def split_interface(text: str) -> tuple[bytes, int]:
    """The address and the prefix length in "ADDRESS/PREFIX". Raises ValueError."""
    address, slash, length = text.partition("/")
    packed = packed_address(address)
    if not (slash and length.isdecimal() and int(length) <= len(packed) * 8):
        raise ValueError(f"{text!r} is no address with a prefix length")
    return packed, int(length)


def broadcast(packed: bytes, prefix: int) -> bytes:
    """The broadcast address of an IPv4 address's network."""
    hosts = (1 << (32 - prefix)) - 1
    return (int.from_bytes(packed, "big") | hosts).to_bytes(4, "big")


def is_mac(text: str) -> bool:
    """Whether this is an Ethernet address as six pairs of lower-case hexadecimal digits."""
    pairs = text.split(":")
    return len(pairs) == 6 and all(len(pair) == 2 and is_hexadecimal(pair) for pair in pairs)


def is_hexadecimal(text: str) -> bool:
    """Whether all characters are hexadecimal digits, letters in lower case."""
    return not text.strip("0123456789abcdef")
