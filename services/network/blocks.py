"""Address pools as callers write them, read with Docker's refusals.

Source: dockerd's answers to POST /networks/create (Engine API 1.44 and later)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Generic, TypeVar

from vic.network.v1 import network_pb2 as pb

from portlayer.errors import InvalidArgument, Reason
from services.network.plans import INVALID_CONFIG

N = TypeVar("N", IPv4Network, IPv6Network)
A = TypeVar("A", IPv4Address, IPv6Address)

# A prefix's length in digits: no mask, and not left out.
_BLOCK = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}")


@dataclass(frozen=True)
class Block(Generic[N, A]):
    """A subnet, and what is said of addresses in it."""

    subnet: N | None
    gateway: A | None
    ip_range: N | None
    auxiliary: Mapping[str, A]


def read4(pool: pb.AddressPool) -> Block[IPv4Network, IPv4Address]:
    """Return what a pool of IPv4 says. Raises InvalidArgument (INVALID_NETWORK)."""
    return _read(pool, IPv4Network, IPv4Address, "IPv4")


def read6(pool: pb.AddressPool) -> Block[IPv6Network, IPv6Address]:
    """Return what a pool of IPv6 says. Raises InvalidArgument (INVALID_NETWORK)."""
    return _read(pool, IPv6Network, IPv6Address, "IPv6")


def _read(
    pool: pb.AddressPool, network: Callable[[str], N], address: Callable[[str], A], version: str
) -> Block[N, A]:
    def subnet(text: str, what: str) -> N | None:
        if not text:
            return None
        try:
            if _BLOCK.fullmatch(text):
                return network(text)
        except ValueError:
            pass
        raise _invalid(f"{what} {text}: {_of_block(text, version)}")

    def single(text: str, what: str) -> A | None:
        try:
            return address(text) if text else None
        except ValueError:
            raise _invalid(f"{what}: {_of_address(text, version)}") from None

    auxiliary = {
        name: found
        for name, text in pool.auxiliary_addresses.items()
        if (found := single(text, f"auxiliary address {name}")) is not None
    }
    return Block(
        subnet(pool.subnet, "subnet"),
        single(pool.gateway, f"gateway {pool.gateway}"),
        subnet(pool.ip_range, "ip-range"),
        auxiliary,
    )


def _of_block(text: str, version: str) -> str:
    """Return what is wrong of a block of addresses."""
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        meant = None
    if meant is None or _BLOCK.fullmatch(text) is None:
        return "invalid CIDR block notation"
    if f"IPv{meant.version}" != version:
        return f"parent subnet is an {version} block"
    return f"it should be {meant}"


def _of_address(text: str, version: str) -> str:
    """Return what is wrong of an address."""
    try:
        ip_address(text)
    except ValueError:
        return "invalid address"
    return f"parent subnet is an {version} block"


def _invalid(what: str) -> InvalidArgument:
    return InvalidArgument(f"{INVALID_CONFIG}invalid {what}", Reason.INVALID_NETWORK)
