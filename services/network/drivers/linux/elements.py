"""Adding elements to nftables' sets and taking them out, straight over netlink.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Address

from services.network.drivers import Port
from services.network.drivers.linux.netlink import (
    NLM_F_CREATE,
    Request,
    RequestSocket,
    attribute,
)

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFT_MSG_NEWSETELEM = (NFNL_SUBSYS_NFTABLES << 8) | 12
NFT_MSG_DELSETELEM = (NFNL_SUBSYS_NFTABLES << 8) | 14
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY = 1
NFTA_DATA_VALUE = 1
NFPROTO_BRIDGE = 7

# A nested attribute's length has 16 bits; an element takes 40 bytes.
ELEMENTS_A_MESSAGE = 1000
INTERFACE_NAME_BYTES = 16


Elements = Sequence[tuple[str, bytes]]
"""Name of a set, and the key of an element of it."""


def port_key(port: Port) -> bytes:
    """Return the key of a port's element: each part filled up to four bytes."""
    name = port.name.encode().ljust(INTERFACE_NAME_BYTES, b"\0")
    mac = bytes.fromhex(port.mac.replace(":", "")).ljust(8, b"\0")
    return name + mac + port.address.packed


def port_key6(port: Port, address: IPv6Address) -> bytes:
    """Return the key of a port's element for IPv6."""
    mac = bytes.fromhex(port.mac.replace(":", "")).ljust(8, b"\0")
    return name_key(port) + mac + address.packed


def target_key6(port: Port, address: IPv6Address) -> bytes:
    """Return the key of a port's element that says which address is its own."""
    return name_key(port) + address.packed


def name_key(port: Port) -> bytes:
    """Return the key of the name of a port's tap."""
    return port.name.encode().ljust(INTERFACE_NAME_BYTES, b"\0")


class ElementSocket:
    """Changes the elements of sets of a bridge table; used by one thread at a time."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._socket = RequestSocket(NETLINK_NETFILTER)

    def change(self, add: Elements = (), remove: Elements = ()) -> None:
        """Change sets in one transaction: first `remove`, then `add`. Idempotent.

        Raises FileNotFoundError when the table or a set is gone, another OSError when the kernel
        refuses; nothing has changed then.
        """
        # An element that is not there can't be removed, but may be added twice: so each one is
        # added before it is removed.
        steps = [
            *self._elements(NFT_MSG_NEWSETELEM, remove, NLM_F_CREATE),
            *self._elements(NFT_MSG_DELSETELEM, remove),
            *self._elements(NFT_MSG_NEWSETELEM, add, NLM_F_CREATE),
        ]
        if steps:
            batch = [_edge(NFNL_MSG_BATCH_BEGIN), *steps, _edge(NFNL_MSG_BATCH_END)]
            self._socket.run(batch, self._table)

    @property
    def port(self) -> int:
        """What the kernel names in its news as who made a change."""
        return self._socket.port

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _elements(self, kind: int, elements: Elements, flags: int = 0) -> Iterator[Request]:
        keys: dict[str, list[bytes]] = {}
        for set_name, key in elements:
            keys.setdefault(set_name, []).append(key)
        for set_name, all_keys in keys.items():
            for part in _parts(all_keys):
                listed = b"".join(attribute(NFTA_LIST_ELEM, _key(key), nested=True) for key in part)
                payload = struct.pack("=BBH", NFPROTO_BRIDGE, 0, 0)
                payload += attribute(NFTA_SET_ELEM_LIST_TABLE, self._table.encode() + b"\0")
                payload += attribute(NFTA_SET_ELEM_LIST_SET, set_name.encode() + b"\0")
                payload += attribute(NFTA_SET_ELEM_LIST_ELEMENTS, listed, nested=True)
                yield Request(kind, payload, flags)


def _key(key: bytes) -> bytes:
    return attribute(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key), nested=True)


def _edge(kind: int) -> Request:
    payload = struct.pack("=BBH", 0, 0, socket.htons(NFNL_SUBSYS_NFTABLES))
    return Request(kind, payload, acknowledged=False)


def _parts(keys: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (
        keys[start : start + ELEMENTS_A_MESSAGE]
        for start in range(0, len(keys), ELEMENTS_A_MESSAGE)
    )
