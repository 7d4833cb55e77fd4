"""Capability sets as Docker computes them."""

from __future__ import annotations

import pytest

from tether.supervisor.capabilities import ALL, NUMBERS, UnknownCapabilityError, capability_mask

DEFAULT = 0x00000000A80425FB  # CapEff of any container under dockerd


def bit(name: str) -> int:
    return 1 << NUMBERS[name]


@pytest.mark.parametrize(
    ("add", "drop", "mask"),
    [
        ([], [], DEFAULT),
        (["NET_ADMIN"], [], DEFAULT | bit("NET_ADMIN")),
        (["cap_net_admin"], ["CHOWN"], DEFAULT & ~bit("CHOWN") | bit("NET_ADMIN")),
        (["CHOWN"], ["CHOWN"], DEFAULT),
        ([], ["ALL"], 0),
        (["KILL"], ["all"], bit("KILL")),
        (["ALL"], [], ALL),
        (["ALL"], ["SYS_ADMIN"], ALL & ~bit("SYS_ADMIN")),
        (["ALL"], ["ALL"], ALL),
    ],
)
def test_mask(add: list[str], drop: list[str], mask: int) -> None:
    assert capability_mask(add, drop, privileged=False) == mask


def test_privileged_has_all() -> None:
    assert capability_mask([], ["ALL"], privileged=True) == ALL


def test_unknown_name_is_named() -> None:
    with pytest.raises(UnknownCapabilityError, match="FLY"):
        capability_mask(["FLY"], [], privileged=False)
