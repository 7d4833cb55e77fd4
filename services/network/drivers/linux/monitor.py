"""News from the kernel: links that go away, and rules that others change.

Source: rtnetlink(7), linux/netfilter/nfnetlink.h
"""

import asyncio
import ctypes
import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence

from services.network.drivers.linux import netlink
from services.network.drivers.linux.elements import NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES
from services.network.drivers.linux.ports import LINK_HEADER, NETLINK_ROUTE, RTMGRP_LINK

log = logging.getLogger("vic.network.monitor")

RTM_DELLINK = 17
IFLA_IFNAME = 3

NFNLGRP_NFTABLES = 7
NFT_HEADER_BYTES = 4  # struct nfgenmsg
NFTA_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE
NFT_MSG_DELTABLE = (NFNL_SUBSYS_NFTABLES << 8) | 2
NFT_MSG_NEWCHAIN = (NFNL_SUBSYS_NFTABLES << 8) | 3
NFT_MSG_DELCHAIN = (NFNL_SUBSYS_NFTABLES << 8) | 5
NFT_MSG_DELRULE = (NFNL_SUBSYS_NFTABLES << 8) | 8
NFT_MSG_DELSET = (NFNL_SUBSYS_NFTABLES << 8) | 11
WATCHED_RULES = frozenset(
    {NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET}
)
"""What can undo our rules or put new ones in our way; elements are compared on the period."""

DATAGRAM_BYTES = 65536

# linux/filter.h, linux/bpf_common.h, asm-generic/socket.h, struct nlmsghdr
SO_ATTACH_FILTER = 26
BPF_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
BPF_LOAD_HALF = 0x28  # BPF_LD | BPF_H | BPF_ABS
BPF_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
BPF_RETURN = 0x06  # BPF_RET | BPF_K
TYPE_OFFSET = 4
PORT_OFFSET = 12

_Step = tuple[int, int, int, int]
"""Of a filter: struct sock_filter."""


class Monitor:
    """Listens to the kernel on the event loop and tells by callbacks.

    `link_gone(name, index)` says that a link was deleted, `port_left(name)` that one was taken off
    its bridge, `rules_changed()` that somebody changed tables or chains (we ourselves included,
    but for what comes from the netlink port `own`), and `overrun()` that news were lost.
    """

    def __init__(
        self,
        link_gone: Callable[[str, int], None],
        port_left: Callable[[str], None],
        rules_changed: Callable[[], None],
        overrun: Callable[[], None],
        *,
        own: int,
    ) -> None:
        self._link_gone = link_gone
        self._port_left = port_left
        self._rules_changed = rules_changed
        self._overrun = overrun
        self._loop = asyncio.get_running_loop()
        self._links = _open(NETLINK_ROUTE, RTMGRP_LINK, _only(RTM_DELLINK))
        self._rules = _open(NETLINK_NETFILTER, 1 << (NFNLGRP_NFTABLES - 1), _not_from(own))
        self._loop.add_reader(self._links, self._read, self._links, self._on_link)
        self._loop.add_reader(self._rules, self._read, self._rules, self._on_rule)

    def close(self) -> None:
        """Stop listening."""
        for listener in (self._links, self._rules):
            self._loop.remove_reader(listener)
            listener.close()

    def _read(self, listener: socket.socket, handle: Callable[[netlink.Message], None]) -> None:
        while True:
            try:
                datagram = listener.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                log.warning("the kernel's news came too fast: %s", os.strerror(errno.ENOBUFS))
                self._overrun()
                continue
            for message in netlink.messages(datagram):
                handle(message)

    def _on_link(self, message: netlink.Message) -> None:
        if message.kind != RTM_DELLINK:
            return
        family, _kind, index, _flags, _change = LINK_HEADER.unpack_from(message.payload)
        found = netlink.attributes(message.payload, LINK_HEADER.size)
        name = netlink.text(found.get(IFLA_IFNAME, b""))
        # The bridge's own news about a port that left it have the same type.
        if family == socket.AF_BRIDGE:
            self._port_left(name)
        else:
            self._link_gone(name, index)

    def _on_rule(self, message: netlink.Message) -> None:
        if message.kind in WATCHED_RULES:
            self._rules_changed()


def _open(protocol: int, groups: int, wanted: Sequence[_Step]) -> socket.socket:
    """Return a socket that hears those news of some groups that pass a filter."""
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    listener = socket.socket(socket.AF_NETLINK, flags, protocol)
    program = b"".join(struct.pack("=HBBI", *step) for step in wanted)
    steps = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("@HP", len(wanted), ctypes.addressof(steps))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
    listener.bind((0, groups))
    return listener


# A filter loads as the network has it what netlink has in the host's order.


def _only(kind: int) -> Sequence[_Step]:
    """Pass messages of one kind; a datagram of news of links has one.

    Each start of a container makes some eighty of them, and one of its end is all that counts.
    """
    return (
        (BPF_LOAD_HALF, 0, 0, TYPE_OFFSET),
        (BPF_JUMP_EQUAL, 0, 1, socket.htons(kind)),
        (BPF_RETURN, 0, 0, DATAGRAM_BYTES),
        (BPF_RETURN, 0, 0, 0),
    )


def _not_from(port: int) -> Sequence[_Step]:
    """Pass what others did than the socket of a port; a datagram of news of rules has one's."""
    return (
        (BPF_LOAD_WORD, 0, 0, PORT_OFFSET),
        (BPF_JUMP_EQUAL, 0, 1, socket.htonl(port)),
        (BPF_RETURN, 0, 0, 0),
        (BPF_RETURN, 0, 0, DATAGRAM_BYTES),
    )
