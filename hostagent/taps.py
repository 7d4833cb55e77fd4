"""Taps: one end on the host, under the name that the network service chose, the other in QEMU."""

import array
import errno
import fcntl
import os
import socket
import struct

# <linux/sockios.h>
_SIOCSIFNAME = 0x8923
_SIOCETHTOOL = 0x8946
# <linux/ethtool.h>
_ETHTOOL_GTXCSUM = 0x16
_ETHTOOL_GTSO = 0x1E
# <linux/if_tun.h>
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
_TUNSETOFFLOAD = 0x400454D0
_TUNSETSNDBUF = 0x400454D4
_TUNSETVNETHDRSZ = 0x400454D8
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8
# <linux/virtio_net.h>, virtio_net_hdr_mrg_rxbuf
_VIRTIO_HEADER_BYTES = 12
_NO_BOUND = 0x7FFFFFFF


def create_tap(name: str) -> int:
    """Make a tap and return its descriptor; with the last copy of that the tap ends.

    It is down and on no bridge: binding it is the network service's work. One queue; vnet_hdr as in
    every parent, since a machine's state says which it was. Raises FileExistsError where the name
    is taken.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        os.close(descriptor)
        if error.errno in (16, 17):  # EBUSY: it is there
            raise FileExistsError(f"there is an interface {name} already") from error
        raise
    return descriptor


def settle_tap(descriptor: int, name: str, like: str) -> None:
    """Make a tap what a virtio-net device that has settled with its guest has made of another.

    The header's size is that of virtio 1; what the guest takes off the host is as it is there.
    Raises OSError.
    """
    fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("=i", _VIRTIO_HEADER_BYTES))
    fcntl.ioctl(descriptor, _TUNSETSNDBUF, struct.pack("=i", _NO_BOUND))
    offloads = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        if _feature(control, like, _ETHTOOL_GTXCSUM):
            offloads |= _TUN_F_CSUM
            if _feature(control, like, _ETHTOOL_GTSO):
                offloads |= _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, offloads)


def _feature(control: socket.socket, name: str, command: int) -> bool:
    """Tell whether an interface has a feature switched on. Source: <linux/ethtool.h>."""
    value = array.array("I", [command, 0])
    address, _ = value.buffer_info()
    fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sQ16x", name.encode(), address))
    return bool(value[1])


def waiting_tap(slot: int, number: int, index: int) -> str:
    """Return the name of a tap of a machine that waits, which is the only one of its number.

    It is none of those that the network service gives out.
    """
    return f"vr{slot}-{number:x}{index}"


def rename_tap(name: str, wanted: str) -> None:
    """Give a tap that is down another name.

    Raises FileExistsError where that is taken, FileNotFoundError where there is no such tap.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        try:
            request = struct.pack("16s16s8x", name.encode(), wanted.encode())
            fcntl.ioctl(control, _SIOCSIFNAME, request)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise FileNotFoundError(f"there is no interface {name}") from error
            raise
