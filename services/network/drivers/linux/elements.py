"""Adding elements to nftables' sets and taking them out, straight over netlink.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h
"""

import socket
import struct
from collections.abc import Iterable, Sequence

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


def port_key(port: Port) -> bytes:
    """Return the key of a port's element: each part filled up to four bytes."""
    name = port.name.encode().ljust(INTERFACE_NAME_BYTES, b"\0")
    mac = bytes.fromhex(port.mac.replace(":", "")).ljust(8, b"\0")
    return name + mac + port.address.packed


class ElementSocket:
    """Changes the elements of one set of a bridge table; used by one thread at a time."""

    def __init__(self, table: str, set_name: str) -> None:
        self._set = set_name
        self._address = attribute(NFTA_SET_ELEM_LIST_TABLE, table.encode() + b"\0")
        self._address += attribute(NFTA_SET_ELEM_LIST_SET, set_name.encode() + b"\0")
        self._socket = RequestSocket(NETLINK_NETFILTER)

    def change(self, add: Sequence[bytes] = (), remove: Sequence[bytes] = ()) -> None:
        """Change the set in one transaction: first `remove`, then `add`. Idempotent.

        Raises FileNotFoundError when the table or the set is gone, another OSError when the kernel
        refuses; nothing has changed then.
        """
        # An element that is not there can't be removed, but may be added twice: so each one is
        # added before it is removed.
        steps = [
            *(self._elements(NFT_MSG_NEWSETELEM, part, NLM_F_CREATE) for part in _parts(remove)),
            *(self._elements(NFT_MSG_DELSETELEM, part) for part in _parts(remove)),
            *(self._elements(NFT_MSG_NEWSETELEM, part, NLM_F_CREATE) for part in _parts(add)),
        ]
        if steps:
            batch = [_edge(NFNL_MSG_BATCH_BEGIN), *steps, _edge(NFNL_MSG_BATCH_END)]
            self._socket.run(batch, self._set)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _elements(self, kind: int, keys: Iterable[bytes], flags: int = 0) -> Request:
        elements = b"".join(attribute(NFTA_LIST_ELEM, _key(key), nested=True) for key in keys)
        payload = struct.pack("=BBH", NFPROTO_BRIDGE, 0, 0) + self._address
        payload += attribute(NFTA_SET_ELEM_LIST_ELEMENTS, elements, nested=True)
        return Request(kind, payload, flags)


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
